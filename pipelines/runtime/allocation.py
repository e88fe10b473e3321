"""Where a worker's memory comes from: what a step frees is kept for the next step."""

from __future__ import annotations

import ctypes
import platform

KEPT_BYTES = 2**30  # mallopt takes an int
# From glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3


def keep_freed_memory() -> bool:
    """Let this process keep what it frees, up to `KEPT_BYTES` of the heap's end.

    By default glibc hands large blocks back to the kernel and asks for them again in every step,
    and the kernel fills each page with zeros first: some 4,000 page faults in a step of the VAE on
    Fashion-MNIST (docs/parallel.md). A process stays as large as its largest step.

    Returns:
        Whether it was done: with another C library than glibc nothing is changed.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return all(mallopt(name, KEPT_BYTES) == 1 for name in (M_TRIM_THRESHOLD, M_MMAP_THRESHOLD))
