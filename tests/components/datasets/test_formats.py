"""Raw files: IDX there and back, and what is wrong with a damaged one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from components.datasets.catalog import ImagesEntry, PointsEntry, find_entry
from components.datasets.formats import item_shape, read_idx, read_raw, write_idx
from components.errors import UserError

CATALOG = Path(__file__).parents[3] / "data" / "catalog.yaml"


@pytest.mark.parametrize("shape", [(5,), (3, 4, 4), (2, 3, 4, 4)])
def test_round_trip(tmp_path: Path, shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    write_idx(tmp_path / "x", array)
    assert np.array_equal(read_idx(tmp_path / "x"), array)


def test_the_header_is_the_published_one(tmp_path: Path) -> None:
    write_idx(tmp_path / "x", np.full((2, 1), 7, dtype=np.uint8))
    assert (tmp_path / "x").read_bytes() == bytes([0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 1, 7, 7])


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "no IDX file"),
        (b"\0\0\x08", "no IDX file"),
        (b"\0\0\x08\x02\0\0\0\x02", "no IDX file"),
        (b"\0\0\x0d\x01\0\0\0\x01" + b"abcd", "no IDX file"),
        (b"\0\0\x08\x01\0\0\0\x05abcd", "cut short"),
        (b"\0\0\x08\x02\xff\xff\xff\xff\xff\xff\xff\xff", "cut short"),
        (b"\x1f\x8b\x08\x00", "no IDX file"),
    ],
)
def test_damaged(tmp_path: Path, data: bytes, said: str) -> None:
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(UserError, match=said):
        read_idx(tmp_path / "x")


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"fetch it first with: dvc repro fetch@mnist"):
        read_idx(tmp_path / "mnist" / "x")


def test_damaged_points(tmp_path: Path) -> None:
    source = {"kind": "generated", "density": "swiss-roll", "train": 5, "test": 5, "seed": 0}
    item = PointsEntry.model_validate({"kind": "points", "licence": "none", "source": source})
    (tmp_path / "train.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(UserError, match=r"train.npy is damaged"):
        read_raw(item, tmp_path)


def test_images_are_resized_where_the_catalogue_says_so(tmp_path: Path) -> None:
    entry = find_entry(CATALOG, "mnist")
    assert isinstance(entry, ImagesEntry) and item_shape(entry) == (1, 28, 28)
    resized = find_entry(CATALOG, "mnist-32")
    assert isinstance(resized, ImagesEntry) and item_shape(resized) == (1, 32, 32)
    # Edges in the middle of each image, and one level for each of them.
    images = np.zeros((3, 28, 28), dtype=np.uint8)
    images[:, :, 14:] = np.array([0, 100, 255], dtype=np.uint8)[:, None, None]
    for files in (entry.files.train, entry.files.test):
        write_idx(tmp_path / files.images.name, images)
        write_idx(tmp_path / files.labels.name, np.arange(3, dtype=np.uint8))
    ((x, labels),) = read_raw(resized, tmp_path)["test"].blocks
    assert x.shape == (3, 1, 32, 32) and x.dtype == np.uint8
    assert labels is not None and labels.tolist() == [0, 1, 2]
    assert (x[:, 0, :, :15] == 0).all()
    assert (x[:, 0, :, 17:] == np.array([0, 100, 255])[:, None, None]).all()
    ((plain, _),) = read_raw(entry, tmp_path)["train"].blocks
    assert np.array_equal(plain[:, 0], images)


def test_resized_images_have_the_shape_that_the_catalogue_says(tmp_path: Path) -> None:
    entry = find_entry(CATALOG, "mnist-32")
    assert isinstance(entry, ImagesEntry)
    for files in (entry.files.train, entry.files.test):
        write_idx(tmp_path / files.images.name, np.zeros((2, 8, 8), dtype=np.uint8))
        write_idx(tmp_path / files.labels.name, np.zeros(2, dtype=np.uint8))
    with pytest.raises(UserError, match=r"images of shape \(1, 8, 8\) where the catalogue says"):
        list(read_raw(entry, tmp_path)["train"].blocks)
