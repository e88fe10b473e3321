"""How the kernel shares the cores among a worker's threads."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path


def schedule_as_batch() -> None:
    """Let a thread of this process that wakes wait for a core, instead of taking one at once.

    The threads that exchange gradients and statistics wake several times a step, and each time push
    away a thread that computes, this worker's or another's, for no gain: the step of two workers on
    two cores takes a fifth longer by it (docs/parallel.md). Threads started later follow. Linux
    alone has the policy: elsewhere nothing is done.
    """
    if sys.platform != "linux":
        return
    for thread in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):  # it has ended meanwhile, or a sandbox forbids it
            os.sched_setscheduler(int(thread.name), os.SCHED_BATCH, os.sched_param(0))
