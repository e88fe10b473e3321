"""Shards: what is written comes back, byte for byte the same each time, or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from components.datasets.manifest import Manifest
from components.datasets.shards import Block, RawSplit, read_split, rechunk, write_shards
from components.errors import UserError

N = {"train": 1_000, "test": 100}
RNG = np.random.default_rng(0)
IMAGES = {s: RNG.integers(0, 256, (n, 3, 8, 8), dtype=np.uint8) for s, n in N.items()}
LABELS = {s: RNG.integers(0, 2, n) for s, n in N.items()}


def blocks(split: str, size: int, labelled: bool = True) -> Iterator[Block]:
    for i in range(0, N[split], size):
        labels = LABELS[split][i : i + size] if labelled else None
        yield IMAGES[split][i : i + size], labels


def write(folder: Path, size: int = 130, labelled: bool = True, **changes: Any) -> Manifest:
    settings: dict[str, Any] = {
        "name": "noise", "kind": "images", "shape": (3, 8, 8), "shard_megabytes": 0.05,
        "classes": ("off", "on") if labelled else (),
    }  # fmt: skip
    raw = {split: RawSplit(N[split], blocks(split, size, labelled)) for split in N}
    return write_shards(folder, raw, **{**settings, **changes})


def digests(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}


def test_round_trip(tmp_path: Path) -> None:
    manifest = write(tmp_path / "noise")
    assert Manifest.load(tmp_path / "noise") == manifest
    for split in N:
        items = read_split(tmp_path / "noise", split)
        assert items.x.dtype == torch.uint8 and items.name == "noise"
        assert np.array_equal(items.x.numpy(), IMAGES[split])
        assert items.labels is not None and np.array_equal(items.labels.numpy(), LABELS[split])
    channel_means = IMAGES["train"].mean(axis=(0, 2, 3)) / 255
    assert manifest.mean == pytest.approx(tuple(channel_means), abs=1e-7)


def test_shards_are_equal_and_within_their_size(tmp_path: Path) -> None:
    manifest = write(tmp_path / "noise")
    counts = [shard.count for shard in manifest.shards("train")]
    assert len(counts) == 4 and sum(counts) == 1_000 and max(counts) - min(counts) <= 4
    assert max(counts) * 3 * 64 <= 50_000


def test_points_and_no_labels(tmp_path: Path) -> None:
    x = RNG.normal(size=(500, 2)).astype(np.float32)
    raw = {split: RawSplit(500, iter([(x, None)])) for split in ("train", "test")}
    manifest = write_shards(
        tmp_path / "p", raw, name="p", kind="points", shape=(2,), classes=(), shard_megabytes=1
    )
    items = read_split(tmp_path / "p", "test")
    assert items.labels is None and np.array_equal(items.x.numpy(), x)
    assert manifest.mean == pytest.approx(tuple(x.mean(axis=0)), abs=1e-6)


def test_same_input_same_bytes(tmp_path: Path) -> None:
    write(tmp_path / "a" / "noise")
    write(tmp_path / "b" / "noise", size=77)  # in other blocks
    assert digests(tmp_path / "a" / "noise") == digests(tmp_path / "b" / "noise")


def test_a_strange_folder_name(tmp_path: Path) -> None:
    folder = tmp_path / "50% of {a,b} #1?::pipe: é" / "noise"
    write(folder)
    assert len(read_split(folder, "train")) == 1_000


@pytest.mark.parametrize("fault", ["flip", "cut", "gone"])
def test_damaged_shard(tmp_path: Path, fault: str) -> None:
    write(tmp_path / "noise")
    shard = tmp_path / "noise" / "train-00001.tar"
    data = bytearray(shard.read_bytes())
    data[3_000] ^= 1
    if fault == "gone":
        shard.unlink()
    else:
        shard.write_bytes(data if fault == "flip" else data[:20_000])
    said = "missing" if fault == "gone" else "damaged"
    with pytest.raises(UserError, match=rf"train-00001.tar is {said}; .*shard@noise"):
        read_split(tmp_path / "noise", "train")
    assert len(read_split(tmp_path / "noise", "test")) == 100  # the others stay usable


@pytest.mark.parametrize("keep", [0, 100, 20_000])
def test_cut_shard_unverified(tmp_path: Path, keep: int) -> None:
    write(tmp_path / "noise")
    os.truncate(tmp_path / "noise" / "train-00001.tar", keep)
    with pytest.raises(UserError, match=r"train-00001.tar is damaged"):
        read_split(tmp_path / "noise", "train", verify=False)


def test_shards_hold_no_pickles(tmp_path: Path) -> None:
    bad = np.empty(3, dtype=object)
    raw = {s: RawSplit(3, iter([(bad, None)])) for s in N}
    with pytest.raises(UserError, match="holds object"):
        write_shards(
            tmp_path / "n", raw, name="n", kind="images", shape=(), classes=(), shard_megabytes=1
        )


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"splits": 3}', '{"splits": {"a": [1]}}'])
def test_damaged_manifest(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(UserError, match=r"manifest.json is damaged; write it again"):
        Manifest.load(tmp_path)


def test_manifest_cannot_name_a_file_elsewhere(tmp_path: Path) -> None:
    write(tmp_path / "noise")
    path = tmp_path / "noise" / "manifest.json"
    path.write_text(path.read_text().replace("train-00000.tar", "../train-00000.tar"))
    with pytest.raises(UserError, match="damaged"):
        Manifest.load(tmp_path / "noise")


def test_missing_data_set_or_split(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no data set in .*mnist: manifest.json is missing"):
        read_split(tmp_path / "mnist", "train")
    write(tmp_path / "noise")
    with pytest.raises(UserError, match="noise has no split 'dev'; it has: train, test"):
        read_split(tmp_path / "noise", "dev")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"shape": (3, 9, 9)}, "uint8 of shape .3, 8, 8., but the catalogue says uint8 of shape"),
        ({"kind": "points"}, "but the catalogue says float32"),
        ({"classes": ("only",)}, "labels 0 to 1, but 1 classes"),
        ({"classes": ()}, "130 items, 130 labels and 0 classes"),
        ({"shard_megabytes": 0.0001}, "cannot hold one item"),
    ],
)
def test_wrong_input(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        write(tmp_path / "noise", **changes)
    assert list(tmp_path.iterdir()) == []


def test_empty_split(tmp_path: Path) -> None:
    raw = {"train": RawSplit(0, iter(()))}
    with pytest.raises(UserError, match="its train split is empty"):
        write_shards(
            tmp_path / "n", raw, name="n", kind="points", shape=(2,), classes=(), shard_megabytes=1
        )


def test_a_failure_keeps_what_was_there(tmp_path: Path) -> None:
    write(tmp_path / "noise")
    before = digests(tmp_path / "noise")

    def failing() -> Iterator[Block]:
        yield from blocks("train", 100)
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        write_shards(
            tmp_path / "noise", {"train": RawSplit(2_000, failing())}, name="noise",
            kind="images", shape=(3, 8, 8), classes=("off", "on"), shard_megabytes=0.05,
        )  # fmt: skip
    assert digests(tmp_path / "noise") == before
    assert [p.name for p in tmp_path.iterdir()] == ["noise"]


def test_no_room_for_a_file(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(UserError, match=r"cannot write .*noise"):
            write(tmp_path / "noise")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def test_leftovers_of_a_killed_run_go(tmp_path: Path) -> None:
    (tmp_path / ".noise.part").mkdir()
    (tmp_path / ".noise.part" / "train-00000.tar").write_bytes(b"half")
    write(tmp_path / "noise")
    assert [p.name for p in tmp_path.iterdir()] == ["noise"]
    json.loads((tmp_path / "noise" / "manifest.json").read_text())


def test_rechunk_keeps_order_and_cuts_equal() -> None:
    x = np.arange(23)
    parts = [(x[a:b], x[a:b] * 2) for a, b in ((0, 1), (1, 1), (1, 15), (15, 23))]
    chunks = list(rechunk(parts, 5))
    assert [len(c[0]) for c in chunks] == [5, 5, 5, 5, 3]
    assert np.array_equal(np.concatenate([c[0] for c in chunks]), x)
    labels = [c[1] for c in chunks if c[1] is not None]
    assert np.array_equal(np.concatenate(labels), x * 2)
