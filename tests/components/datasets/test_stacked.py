"""Items of three grey images, labelled by all of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from components.datasets.catalog import ImagesEntry, find_entry
from components.datasets.formats import item_shape, read_raw, write_idx
from components.errors import UserError

CATALOG = Path(__file__).parents[3] / "data" / "catalog.yaml"


def entry() -> ImagesEntry:
    found = find_entry(CATALOG, "stacked-mnist-16")
    assert isinstance(found, ImagesEntry) and found.stack is not None
    return found


def raw(folder: Path) -> Path:
    """Ten images for each split, of one tone each: 20 times their label."""
    labels = np.arange(10, dtype=np.uint8)
    images = np.broadcast_to(20 * labels[:, None, None], (10, 28, 28)).astype(np.uint8)
    for files in (entry().files.train, entry().files.test):
        write_idx(folder / files.images.name, images)
        write_idx(folder / files.labels.name, labels)
    return folder


def test_channels_are_images_and_the_label_names_them_all(tmp_path: Path) -> None:
    item = entry()
    assert item_shape(item) == (3, 16, 16)
    names = item.class_names()
    assert len(names) == 1000 and names[407] == "4-0-7"
    for split, count in (("train", 60_000), ("test", 10_000)):
        found = read_raw(item, raw(tmp_path))[split]
        blocks = list(found.blocks)
        x = np.concatenate([images for images, _ in blocks])
        labels = np.concatenate([each for _, each in blocks if each is not None])
        assert found.count == len(x) == len(labels) == count
        assert x.shape[1:] == (3, 16, 16) and x.dtype == np.uint8
        digits = x[:, :, 8, 8] // 20
        assert np.array_equal(labels, digits @ np.array([100, 10, 1]))
        # All thousand occur, nearly equally often.
        shares = np.bincount(labels, minlength=1000) / count
        assert (shares > 0).all() or count == 10_000
        assert abs(shares - 1e-3).max() < 1.5e-3


def test_items_are_a_function_of_the_seed_and_differ_between_splits(tmp_path: Path) -> None:
    first, again = (read_raw(entry(), raw(tmp_path)) for _ in range(2))
    other = entry().model_copy(update={"stack": entry().stack.model_copy(update={"seed": 1})})
    labels = [
        next(iter(splits[name].blocks))[1][:50].tolist()
        for splits, name in (
            (first, "test"),
            (again, "test"),
            (first, "train"),
            (read_raw(other, raw(tmp_path)), "test"),
        )
    ]
    assert labels[0] == labels[1] and labels[0] != labels[2] and labels[0] != labels[3]


def test_colours_cannot_be_stacked(tmp_path: Path) -> None:
    text = CATALOG.read_text().replace("shape: [1, 28, 28]", "shape: [3, 28, 28]")
    (tmp_path / "catalog.yaml").write_text(text)
    with pytest.raises(UserError, match="without `stack`, which is for images of 1 channel"):
        find_entry(tmp_path / "catalog.yaml", "stacked-mnist-16")
