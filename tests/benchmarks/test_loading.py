"""How fast 28×28 images come in batches: at least 500,000 a second is wanted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.datasets.loading import Batches, MemoryBatches, StreamBatches
from components.datasets.shards import RawSplit, read_split, write_shards

COUNT, BATCH = 60_000, 256


@pytest.mark.parametrize("kind", ["memory", "stream"])
def test_images_a_second(benchmark: Any, tmp_path: Path, kind: str) -> None:
    images = np.random.default_rng(0).integers(0, 256, (COUNT, 1, 28, 28), dtype=np.uint8)
    raw = {"train": RawSplit(COUNT, [(images, np.zeros(COUNT, dtype=np.int64))])}
    write_shards(
        tmp_path / "n", raw, name="n", kind="images", shape=(1, 28, 28), classes=("one",),
        shard_megabytes=6,
    )  # fmt: skip
    batches: Batches = (
        MemoryBatches(read_split(tmp_path / "n", "train"), BATCH, 0)
        if kind == "memory"
        else StreamBatches(tmp_path / "n", "train", BATCH, 0)
    )
    steps = batches.steps_per_epoch

    def epoch() -> None:
        for _ in range(steps):
            batches.next()

    benchmark.pedantic(epoch, rounds=5, warmup_rounds=1)
    benchmark.extra_info["images_per_second"] = round(steps * BATCH / benchmark.stats["median"])
