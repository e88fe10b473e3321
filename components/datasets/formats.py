"""Reading raw files: IDX, npy, and packed image folders, as the splits that shards are made of."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from components.datasets.catalog import STACKED, ImageFolderEntry, ImagesEntry, PointsEntry
from components.datasets.folders import read_packed
from components.datasets.shards import Block, RawSplit
from components.errors import UserError
from components.images import quantise, resize, to_unit

_IDX_UINT8 = 0x08
_BLOCK_ITEMS = 10_000


def read_raw(
    entry: ImagesEntry | PointsEntry | ImageFolderEntry, folder: Path
) -> dict[str, RawSplit]:
    """Read the raw files that ``fetch`` wrote.

    Returns:
        The splits ``train`` and ``test``: uint8 N×C×H×W with int64 labels (none for an image
        folder), or float32 N×D.

    Raises:
        UserError: a file is missing or damaged, now or while the blocks are read.
    """
    match entry:
        case ImagesEntry():
            splits = {"train": entry.files.train, "test": entry.files.test}
            arrays = {
                split: (read_idx(folder / files.images.name), read_idx(folder / files.labels.name))
                for split, files in splits.items()
            }
            return {
                split: _stacked(_with_channel(images), labels, entry, split)
                if entry.stack
                else _resized(_in_memory(_with_channel(images), labels), entry)
                for split, (images, labels) in arrays.items()
            }
        case PointsEntry():
            return {s: _in_memory(_read_npy(folder / f"{s}.npy"), None) for s in ("train", "test")}
        case ImageFolderEntry():
            return read_packed(entry, folder / "images.tar")


def item_shape(entry: ImagesEntry | PointsEntry | ImageFolderEntry) -> tuple[int, ...]:
    """Return the shape of one item: (C, H, W), or (2,) for points of the plane."""
    match entry:
        case ImagesEntry():
            height, width = (entry.size, entry.size) if entry.size else entry.shape[1:]
            return (STACKED if entry.stack else entry.shape[0], height, width)
        case PointsEntry():
            return (2,)
        case ImageFolderEntry():
            return (entry.channels, entry.size, entry.size)


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Read an IDX file of unsigned bytes, the format of MNIST (yann.lecun.com/exdb/mnist).

    Raises:
        UserError: it is missing, is no such file, or is cut short.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise _missing(path) from error
    dimensions = data[3] if len(data) >= 4 else 0
    start = 4 + 4 * dimensions
    if data[:3] != bytes([0, 0, _IDX_UINT8]) or not dimensions or len(data) < start:
        raise UserError(f"{path} is no IDX file of bytes; delete {path.parent} and fetch again")
    shape = struct.unpack(f">{dimensions}I", data[4:start])
    array = np.frombuffer(data, np.uint8, offset=start)
    if array.size != int(np.prod(shape, dtype=np.int64)):
        raise UserError(f"{path} is cut short; delete {path.parent} and fetch again")
    return array.reshape(shape)


def write_idx(path: Path, array: NDArray[np.uint8]) -> None:
    """Write unsigned bytes of any shape as an IDX file."""
    header = bytes([0, 0, _IDX_UINT8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes(header + array.tobytes())


def _with_channel(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return images[:, None] if images.ndim == 3 else images


def _read_npy(path: Path) -> NDArray[Any]:
    try:
        array: NDArray[Any] = np.load(path, allow_pickle=False)
    except FileNotFoundError as error:
        raise _missing(path) from error
    except (ValueError, EOFError) as error:
        raise UserError(f"{path} is damaged; delete {path.parent} and fetch again") from error
    return array


def _in_memory(x: NDArray[Any], labels: NDArray[Any] | None) -> RawSplit:
    def blocks() -> Iterator[Block]:
        for i in range(0, len(x), _BLOCK_ITEMS):
            part = slice(i, i + _BLOCK_ITEMS)
            yield x[part], None if labels is None else labels[part].astype(np.int64)

    return RawSplit(len(x), blocks())


def _stacked(
    images: NDArray[np.uint8], labels: NDArray[np.uint8], entry: ImagesEntry, split: str
) -> RawSplit:
    """Items of three images each; a label counts the classes as digits, red first."""
    stack = entry.stack
    assert stack is not None
    count = {"train": stack.train, "test": stack.test}[split]
    small = np.concatenate([part for part, _ in _resized(_in_memory(images, None), entry).blocks])
    random = np.random.default_rng([stack.seed, sorted(("train", "test")).index(split)])
    chosen = random.integers(len(images), size=(count, STACKED))
    digits = labels[chosen].astype(np.int64)
    places = len(entry.classes) ** np.arange(STACKED)[::-1]

    def blocks() -> Iterator[Block]:
        for i in range(0, count, _BLOCK_ITEMS):
            part = slice(i, i + _BLOCK_ITEMS)
            yield small[chosen[part], 0], digits[part] @ places

    return RawSplit(count, blocks())


def _resized(split: RawSplit, entry: ImagesEntry) -> RawSplit:
    """The images at the size that the entry asks for, one block at a time."""
    if entry.size is None:
        return split
    size = entry.size

    def blocks() -> Iterator[Block]:
        for images, labels in split.blocks:
            if images.shape[1:] != entry.shape:
                raise UserError(
                    f"images of shape {images.shape[1:]} where the catalogue says {entry.shape}"
                )
            unit = to_unit(torch.tensor(images))  # a copy: files are read-only
            yield quantise(resize(unit, size)).numpy(), labels

    return RawSplit(split.count, blocks())


def _missing(path: Path) -> UserError:
    name = path.parent.name
    return UserError(f"{path} is missing; fetch it first with: dvc repro fetch@{name}")
