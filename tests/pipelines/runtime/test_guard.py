"""One training of a model at a time: the system's own lock, freed however its holder ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from components.errors import UserError
from pipelines.runtime.guard import one_at_a_time
from pipelines.runtime.identity import REPOSITORY

HOLDER = """
import sys, time
from pathlib import Path
from pipelines.runtime.guard import one_at_a_time
with one_at_a_time("pretrain vae", Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_second_one_waits_then_says_who_is_at_it(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    lock = tmp_path / "storage" / "pretrain-vae.lock"
    command = [sys.executable, "-c", HOLDER, str(lock)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=REPOSITORY) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
        with (
            pytest.raises(
                UserError, match=rf"pretrain vae is already done by process {holder.pid}"
            ),
            one_at_a_time("pretrain vae", lock, wait=0.5),
        ):
            raise AssertionError("must not get here")
        (line,) = capfd.readouterr().err.splitlines()
        assert line.startswith(f"pretrain vae: waits for process {holder.pid}")
        os.kill(holder.pid, signal.SIGKILL)
        # What it left behind is in nobody's way.
        with one_at_a_time("pretrain vae", lock, wait=30.0):
            assert lock.exists()
    assert not lock.exists()


def test_another_model_is_not_held_up(tmp_path: Path) -> None:
    with one_at_a_time("a", tmp_path / "a.lock", 0.0), one_at_a_time("b", tmp_path / "b.lock", 0.0):
        assert sorted(path.name for path in tmp_path.iterdir()) == ["a.lock", "b.lock"]
    assert not list(tmp_path.iterdir())
