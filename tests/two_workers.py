"""Two real processes that work together, as a test runs them and as they meet."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

ROOT = Path(__file__).parents[1]


def run_two(program: Path, folder: Path) -> list[Any]:
    """Run a program as two workers; give what each of them kept.

    Args:
        program: a script that calls `work_together`. It is run by its path and finds this module
            as `two_workers`: another package called tests may be installed.
        folder: empty.
    """
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    workers = [
        subprocess.Popen([sys.executable, str(program), str(rank), str(folder)], env=environment)
        for rank in range(2)
    ]
    assert [worker.wait() for worker in workers] == [0, 0]
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


@contextmanager
def work_together() -> Iterator[tuple[int, dict[str, Any]]]:
    """Meet the other worker; gives this one's number, and a dictionary whose content is kept."""
    rank, folder = int(sys.argv[1]), sys.argv[2]
    torch.set_num_threads(1)
    # Workers out of step with each other shall fail, not wait for half an hour.
    patience = timedelta(seconds=60)
    dist.init_process_group("gloo", f"file://{folder}/meeting", patience, 2, rank)
    kept: dict[str, Any] = {}
    try:
        yield rank, kept
    finally:
        dist.destroy_process_group()
    torch.save(kept, f"{folder}/{rank}.pt")
