"""One training of a model at a time, and none that outlives the `dvc` that started it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import psutil

from components.errors import UserError

LAUNCHER = "SYMBIOSIS_LAUNCHER"
"""Variable with the number of a process that a stage ends with, beside its `dvc`."""
SHELLS = {"sh", "bash", "dash", "zsh", "fish", "ksh"}
WATCH_SECONDS = 1.0
GRACE_SECONDS = 30.0
WAIT_SECONDS = 60.0


@contextlib.contextmanager
def one_at_a_time(what: str, lock: Path, wait: float = WAIT_SECONDS) -> Iterator[None]:
    """Hold a lock for the block; the system frees it when the process ends, however it ends.

    Args:
        what: the block does, for the message.
        lock: file, there only while somebody holds it.
        wait: seconds to wait for another holder. What a killed `dvc` left behind ends within them
            (see `end_with_dvc`).

    Raises:
        UserError: another process still holds it.
    """
    held = _acquire(what, lock, wait)
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)
        os.close(held)


def _acquire(what: str, lock: Path, wait: float) -> int:
    lock.parent.mkdir(parents=True, exist_ok=True)
    deadline, told = time.monotonic() + wait, False
    while True:
        held = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(held, 100).decode() or "another"
            os.close(held)
        else:
            # Its last holder removes the file: what was locked then is no lock any more.
            if _is(lock, held):
                os.truncate(held, 0)
                os.write(held, f"process {os.getpid()} on {os.uname().nodename}".encode())
                return held
            os.close(held)
            continue
        if time.monotonic() > deadline:
            raise UserError(f"{what} is already done by {holder}: wait for it, or end it first")
        if not told:
            print(f"{what}: waits for {holder}, which is still at it", file=sys.stderr, flush=True)
            told = True
        time.sleep(0.2)


def _is(path: Path, opened: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(opened))
    except FileNotFoundError:
        return False


def end_on_sigterm() -> None:
    """Let SIGTERM unwind the main thread, so that runs are closed and Ray is shut down."""
    signal.signal(signal.SIGTERM, _exit)


def end_with_dvc() -> None:
    """End this process soon after the `dvc` that started it is gone.

    A killed `dvc` leaves its command running, and the next `dvc repro` would start it again beside
    itself. Without DVC (a stage started by hand) nothing is watched. A `dvc` that is itself a task
    of a cluster (`pipelines.cluster`) names that task's process, which is watched too.
    """
    if "DVC_STAGE" not in os.environ:
        return
    watched = [_launcher()]
    with contextlib.suppress(psutil.NoSuchProcess):
        watched += [psutil.Process(int(os.environ[LAUNCHER]))] if LAUNCHER in os.environ else []
    for launcher in watched:
        if launcher is not None:
            threading.Thread(target=_watch, args=(launcher,), daemon=True).start()


def _launcher() -> psutil.Process | None:
    """The nearest ancestor that is no shell: DVC runs commands through one."""
    for ancestor in psutil.Process().parents():
        if ancestor.name() not in SHELLS:
            return ancestor
    return None


def _watch(launcher: psutil.Process) -> None:
    while _alive(launcher):
        time.sleep(WATCH_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)


def _alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _exit(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)
