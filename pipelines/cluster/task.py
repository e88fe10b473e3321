"""One DVC stage as a Ray task: what runs on the node that Ray chooses."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.runtime.guard import LAUNCHER

HANDED_ON = ("MLFLOW_", "RAY_AUTH_", "SYMBIOSIS_")
"""Variables of the user's shell that stages are to see: a started cluster does not see them."""
RAYS_OWN = ("RAY_JOB_ID", "RAY_RAYLET_PID", "OMP_NUM_THREADS")
"""What Ray sets for its task alone: a stage is a program of its own, with its own threads."""
ADVICE = ("To track the changes", "\tgit add", "To enable auto", "\tdvc config", "Use `dvc push`")
"""What DVC says after each stage and is worth reading once."""
GRACE_SECONDS = 30.0
POLL_SECONDS = 0.1


def repro_stage(
    root: str, target: str, address: str, environment: Mapping[str, str], board: Any
) -> int:
    """Run a stage by DVC if it changed, and post its words as they come.

    DVC gives its lock away while a command runs and waits for it before and after: so stages run
    side by side, and one process at a time reads and writes DVC's state.

    Args:
        root: the repository's folder, seen by all nodes.
        target: the stage.
        address: of the Ray cluster, for the stage's own training.
        environment: variables that are handed on.
        board: actor that takes the lines.

    Returns:
        DVC's exit status.
    """
    # A stage ends when this process is gone, not only when its `dvc` is.
    own = {"RAY_ADDRESS": address, LAUNCHER: str(os.getpid()), **environment}
    kept = {key: value for key, value in os.environ.items() if key not in RAYS_OWN}
    path = os.pathsep.join([str(Path(sys.executable).parent), kept.get("PATH", "")])
    process = subprocess.Popen(
        [sys.executable, "-m", "dvc", "--wait-for-lock", "repro", "--single-item", target],
        cwd=root,
        env={**kept, **own, "PATH": path},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    reader = threading.Thread(target=_post, args=(process, target, board), daemon=True)
    reader.start()
    try:
        # Ray's cancelling interrupts Python, and no system call that waits without end.
        while (status := process.poll()) is None:
            time.sleep(POLL_SECONDS)
    except BaseException:
        end(process)
        raise
    reader.join()
    return status


def end(process: subprocess.Popen[str]) -> None:
    """End DVC, its stage and the stage's training: by SIGTERM, then by force.

    Ray's workers do not hear Ctrl-C, nor does what they start.
    """
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_SECONDS)
            return


def _post(process: subprocess.Popen[str], target: str, board: Any) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip() and not line.startswith(ADVICE):
            board.post.remote({"kind": "said", "target": target, "line": line.rstrip()})
