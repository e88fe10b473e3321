"""Times of several runs, taken in turns, so that a busy neighbour slows all alike."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from time import perf_counter


def medians(runs: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Seconds that each run takes, the median over rounds; a round before them warms up."""
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds + 1):
        for name, run in runs.items():
            start = perf_counter()
            run()
            taken[name].append(perf_counter() - start)
    return {name: statistics.median(times[1:]) for name, times in taken.items()}
