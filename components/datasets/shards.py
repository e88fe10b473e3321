"""Data sets on disk: webdataset tar shards with a manifest.

A sample in a shard is a chunk of many items: ``KEY.x.npy`` (uint8 C×H×W images or float32 points,
stacked) and, where there are labels, ``KEY.labels.npy`` (int64). One image a sample would read a
hundred times slower.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import math
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import webdataset as wds
from numpy.typing import NDArray
from torch import Tensor

from components.datasets.manifest import Manifest, Shard, remedy
from components.errors import UserError
from components.files import whole_folder

Block = tuple[NDArray[Any], NDArray[Any] | None]
_CHUNK_BYTES = 4_000_000


@dataclass(frozen=True)
class Split:
    """One split in memory.

    Args:
        x: uint8 N×C×H×W images (0..255), or float32 N×D points.
        labels: int64 N, or None.
        name: the data set's name.
    """

    x: Tensor
    labels: Tensor | None = None
    name: str = ""

    def __len__(self) -> int:
        return len(self.x)

    def take(self, indices: Tensor) -> Split:
        """Return the items at ``indices`` (int64), in that order, as copies."""
        labels = None if self.labels is None else self.labels.index_select(0, indices)
        return Split(self.x.index_select(0, indices), labels, self.name)

    def slice(self, start: int, stop: int) -> Split:
        """Return the items from ``start`` to ``stop``, as views."""
        labels = None if self.labels is None else self.labels[start:stop]
        return Split(self.x[start:stop], labels, self.name)


@dataclass(frozen=True)
class RawSplit:
    """One split on its way into shards.

    Args:
        count: the number of items, or an upper bound of it where some may turn out unreadable.
        blocks: arrays (x, labels or None) of any length, in order.
    """

    count: int
    blocks: Iterable[Block]


def write_shards(
    destination: Path,
    splits: Mapping[str, RawSplit],
    *,
    name: str,
    kind: str,
    shape: tuple[int, ...],
    classes: tuple[str, ...],
    shard_megabytes: float,
) -> Manifest:
    """Write a data set, whole or not at all. The same input gives the same bytes.

    Args:
        destination: the folder to write; replaced if it exists.
        splits: ``train`` and others.
        name: the data set's name.
        kind: ``images`` (uint8) or ``points`` (float32).
        shape: of one item.
        classes: names of the labels' values.
        shard_megabytes: upper bound of a shard's size, 10⁶ bytes.

    Raises:
        UserError: a split is empty, a shard cannot hold one item, or the disk is full.
    """
    dtype = np.dtype(np.uint8 if kind == "images" else np.float32)
    item_bytes = dtype.itemsize * math.prod(shape)
    if item_bytes > shard_megabytes * 1e6:
        raise UserError(
            f"shard_megabytes: {shard_megabytes} cannot hold one item of {name} "
            f"({item_bytes / 1e6:.3g} MB)"
        )
    written: dict[str, tuple[Shard, ...]] = {}
    with whole_folder(destination) as folder:
        for split, raw in splits.items():
            # Shards of equal size, so that workers that take one each have equal shares.
            per_shard = _equal_parts(raw.count, int(shard_megabytes * 1e6 // item_bytes))
            per_chunk = _equal_parts(per_shard, max(1, _CHUNK_BYTES // item_bytes))
            mean = _Mean(kind)
            blocks = mean.watch(_checked(raw.blocks, name, split, shape, dtype, classes))
            chunks = rechunk(blocks, per_chunk)
            written[split] = _write_split(folder, split, chunks, math.ceil(per_shard / per_chunk))
            if not written[split]:
                raise UserError(f"data set {name}: its {split} split is empty")
            if split == "train":
                train_mean = mean.result()
        manifest = Manifest(name, kind, shape, dtype.name, classes, train_mean, written)
        manifest.save(folder)
    return manifest


def read_split(folder: Path, split: str, verify: bool = True) -> Split:
    """Read a whole split into memory.

    Args:
        folder: a folder that ``write_shards`` wrote.
        split: ``train`` or ``test``.
        verify: compare each shard with its SHA-256 first.

    Raises:
        UserError: the folder, the split or a shard is missing or damaged.
    """
    manifest = Manifest.load(folder)
    shards = manifest.shards(split)
    count = manifest.count(split)
    x = torch.empty((count, *manifest.shape), dtype=getattr(torch, manifest.dtype))
    labels = torch.empty(count, dtype=torch.int64) if manifest.classes else None
    start = 0
    for shard in shards:
        part = read_shard(folder, manifest, shard, verify)
        x[start : start + shard.count] = part.x
        if labels is not None and part.labels is not None:
            labels[start : start + shard.count] = part.labels
        start += shard.count
    return Split(x, labels, manifest.name)


def read_shard(folder: Path, manifest: Manifest, shard: Shard, verify: bool = True) -> Split:
    """Read one shard into memory.

    Raises:
        UserError: it is missing, or is not what the manifest says.
    """
    path = folder / shard.name
    damaged = f"{path} is damaged; {remedy(folder)}"
    try:
        with path.open("rb") as stream:
            if verify and hashlib.file_digest(stream, "sha256").hexdigest() != shard.sha256:
                raise UserError(damaged)
            stream.seek(0)
            # webdataset's reader on a stream of ours: its own opener leaves files open, and
            # refuses to run in several workers, whose share is decided elsewhere.
            files = wds.tariterators.tar_file_expander([{"url": str(path), "stream": stream}])
            samples = list(wds.tariterators.group_by_keys(files))
        x = torch.from_numpy(np.concatenate([_from_npy(s["x.npy"]) for s in samples]))
        labels = None
        if manifest.classes:
            arrays = [_from_npy(s["labels.npy"]) for s in samples]
            labels = torch.from_numpy(np.concatenate(arrays))
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing; {remedy(folder)}") from error
    except (tarfile.TarError, EOFError, ValueError, KeyError) as error:
        raise UserError(damaged) from error
    right = x.shape == (shard.count, *manifest.shape) and str(x.dtype) == f"torch.{manifest.dtype}"
    if not right or (labels is not None and labels.shape != (shard.count,)):
        raise UserError(damaged)
    return Split(x, labels, manifest.name)


def rechunk(blocks: Iterable[Block], size: int) -> Iterator[Block]:
    """Cut blocks of any length into blocks of ``size`` items; the last may be shorter."""
    held: list[Block] = []
    count = 0
    for block in blocks:
        start = 0
        while start < len(block[0]):
            stop = min(len(block[0]), start + size - count)
            held.append(_slice(block, start, stop))
            count += stop - start
            start = stop
            if count == size:
                yield _join(held)
                held, count = [], 0
    if held:
        yield _join(held)


def _write_split(
    folder: Path, split: str, chunks: Iterable[Block], chunks_per_shard: int
) -> tuple[Shard, ...]:
    shards: list[Shard] = []
    numbered = enumerate(chunks)
    for number, members in itertools.groupby(numbered, lambda pair: pair[0] // chunks_per_shard):
        path = folder / f"{split}-{number:05d}.tar"
        count = 0
        # webdataset's own ShardWriter leaves the file open when the disk is full. A fixed
        # modification time makes the bytes depend on the content alone.
        with path.open("wb") as stream, wds.TarWriter(stream, mtime=0) as writer:
            for index, (x, labels) in members:
                sample = {"__key__": f"{split}-{index:06d}", "x.npy": _to_npy(x)}
                if labels is not None:
                    sample["labels.npy"] = _to_npy(labels.astype(np.int64))
                writer.write(sample)
                count += len(x)
        shards.append(Shard(path.name, count, _sha256(path)))
    return tuple(shards)


def _checked(
    blocks: Iterable[Block],
    name: str,
    split: str,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    classes: tuple[str, ...],
) -> Iterator[Block]:
    for x, labels in blocks:
        if x.shape[1:] != shape or x.dtype != dtype:
            raise UserError(
                f"data set {name}: its {split} split holds {x.dtype} of shape {x.shape[1:]}, "
                f"but the catalogue says {dtype} of shape {shape}"
            )
        labelled = 0 if labels is None else len(labels)
        if labelled != (len(x) if classes else 0):
            raise UserError(
                f"data set {name}: its {split} split has {len(x)} items, {labelled} labels "
                f"and {len(classes)} classes"
            )
        if labels is not None and labelled and not 0 <= labels.min() <= labels.max() < len(classes):
            raise UserError(
                f"data set {name}: its {split} split has labels {labels.min()} to {labels.max()}, "
                f"but {len(classes)} classes"
            )
        yield x, labels


class _Mean:
    """The mean per channel of the blocks that pass through."""

    def __init__(self, kind: str) -> None:
        self.range = 255.0 if kind == "images" else 1.0
        self.total: NDArray[Any] | float = 0.0
        self.count = 0

    def watch(self, blocks: Iterable[Block]) -> Iterator[Block]:
        for x, labels in blocks:
            # Sums of uint8 are exact in float64, so the result does not depend on the blocks.
            self.total = self.total + x.sum(axis=(0, *range(2, x.ndim)), dtype=np.float64)
            self.count += x.size // x.shape[1]
            yield x, labels

    def result(self) -> tuple[float, ...]:
        means = np.asarray(self.total) / self.count / self.range
        return tuple(round(float(mean), 8) for mean in means)


def _equal_parts(count: int, largest: int) -> int:
    """Return the size of the parts when ``count`` is cut into the fewest equal parts allowed."""
    return max(1, math.ceil(count / max(1, math.ceil(count / largest))))


def _slice(block: Block, start: int, stop: int) -> Block:
    x, labels = block
    return x[start:stop], None if labels is None else labels[start:stop]


def _join(blocks: list[Block]) -> Block:
    labels = [labels for _, labels in blocks if labels is not None]
    return np.concatenate([x for x, _ in blocks]), np.concatenate(labels) if labels else None


def _to_npy(array: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _from_npy(data: bytes) -> NDArray[Any]:
    array: NDArray[Any] = np.load(io.BytesIO(data), allow_pickle=False)
    return array


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
