"""All of a process's threads are scheduled as batches, those of before and those of after."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import os
import threading
from pathlib import Path
from pipelines.runtime.scheduling import schedule_as_batch

done = threading.Event()

def start():
    threading.Thread(target=done.wait, daemon=True).start()

def policies():
    tasks = Path("/proc/self/task").iterdir()
    return [os.sched_getscheduler(int(task.name)) == os.SCHED_BATCH for task in tasks]

start()
assert policies() == [False, False]
schedule_as_batch()
start()
print(policies())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="Linux's policies")
def test_threads_of_before_and_after() -> None:
    program = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(program, capture_output=True, check=True, text=True)
    assert done.stdout == "[True, True, True]\n"
