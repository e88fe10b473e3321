"""Real processes that are started, watched and killed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import psutil

from tests.pipelines.small_project import Project

T = TypeVar("T")
PATIENCE_SECONDS = 120.0
WORKER = "ray::RayTrainWorker"


@dataclass
class Running:
    """A command in a process group of its own; its words are in a file."""

    process: subprocess.Popen[bytes]
    output: Path

    @property
    def words(self) -> str:
        return self.output.read_text()

    def wait(self) -> int:
        return self.process.wait(PATIENCE_SECONDS)

    def signal_group(self, number: signal.Signals) -> None:
        """What a terminal does at Ctrl-C, or a scheduler when it ends a job."""
        os.killpg(self.process.pid, number)

    def descendants(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def descendant(self, words: str) -> psutil.Process:
        """The process below this one whose command line has these words, once it is there."""
        return until(
            lambda: next((each for each in self.descendants() if words in command(each)), None)
        )


@contextlib.contextmanager
def heard(number: signal.Signals) -> Iterator[None]:
    """What is started in here hears the signal, even where this test was started deaf to it.

    A shell starts what it runs in the background (`make test &`) with Ctrl-C ignored, and what is
    ignored is inherited.
    """
    before = signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(number, before)


def start(project: Project, *arguments: str, **environment: str) -> Running:
    """Start a command in a project, as a user would."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    own = {"PATH": path, "PYTHONPATH": str(project.root), "OMP_NUM_THREADS": "1"}
    output = project.root / "output.txt"
    with output.open("wb") as file, heard(signal.SIGINT):
        process = subprocess.Popen(
            arguments,
            cwd=project.root,
            env={**os.environ, **own, **environment},
            stdout=file,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    return Running(process, output)


def command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def until(found: Callable[[], T | None], what: str = "what the test waits for") -> T:
    """Wait until something is there that is not None and not false, and give it."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        value = found()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError(f"not seen within {PATIENCE_SECONDS:.0f} s: {what}")


def gone(processes: list[psutil.Process]) -> bool:
    """Whether all processes have ended; those that nobody has waited for yet have, too."""
    _, alive = psutil.wait_procs(processes, timeout=PATIENCE_SECONDS)
    return all(each.status() == psutil.STATUS_ZOMBIE for each in alive)


def checkpoints(project: Project, name: str = "pretrain-vae-toy") -> list[Path]:
    """Checkpoints of a training on disk, the oldest first; whole ones and others."""
    return sorted((project.root / ".ray").glob(f"{name}-*/step-*"))


def whole_checkpoints(project: Project, name: str = "pretrain-vae-toy") -> list[Path]:
    """Those that a training of one worker has finished writing."""
    return [path for path in checkpoints(project, name) if (path / "rank-0-of-1.pt").is_file()]
