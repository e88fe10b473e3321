"""A process that keeps its memory does not ask the kernel for the same pages again and again."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource
import sys
import torch
from pipelines.runtime.allocation import keep_freed_memory

torch.set_num_threads(1)
if sys.argv[1] == "keep":
    assert keep_freed_memory()

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

for size in [2**20] * 4 + [2**22] * 4 + [2**24] * 8:
    torch.ones(size)  # the heap grows until it holds a block at the alignment asked for
before = faults()
for _ in range(4):
    torch.ones(2**24)
print(faults() - before)
"""
PAGES = 4 * 2**26 // 2**12  # of four tensors of 64 MiB, if each page is of 4 KiB


def page_faults(how: str) -> int:
    program = [sys.executable, "-c", PROGRAM, how]
    return int(subprocess.run(program, capture_output=True, check=True, text=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's settings")
def test_freed_memory_is_used_again() -> None:
    assert page_faults("keep") < min(PAGES, page_faults("leave")) // 20
