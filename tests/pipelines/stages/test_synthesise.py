"""Strokes that are made of test images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from components.datasets.shards import RawSplit, write_shards
from pipelines.runtime.settings import Synthesis
from pipelines.stages.synthesise import strokes_of


def test_strokes_have_few_tones_and_keep_a_thin_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 16 pixels a side: a line of one pixel is as wide as two, and nothing is beside it."""
    monkeypatch.chdir(tmp_path)
    lines = np.zeros((1, 1, 16, 16), dtype=np.uint8)
    lines[..., 2:14, 8] = 255
    splits = {split: RawSplit(1, [(lines, None)]) for split in ("train", "test")}
    write_shards(
        Path("data/shards/lines"), splits, name="lines", kind="images", shape=(1, 16, 16),
        classes=(), shard_megabytes=1,
    )  # fmt: skip
    settings = Synthesis(
        model="none", data="lines", picture=None, steps=1, strokes=1, draws=1, colours=3, seed=0
    )
    strokes = strokes_of(settings, (1, 16, 16))[0, 0]
    assert set(strokes.unique().tolist()) <= {0, 128, 255}
    assert (strokes[4:12, 8] > 0).all() and not strokes[:, :5].any() and not strokes[:, 12:].any()
    assert torch.equal(strokes[5], strokes[10])
