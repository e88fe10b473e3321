"""Batches for training: from memory, or streamed from the shards; resumable to the item.

The batch size is global: each of ``world_size`` ranks gets ``batch_size / world_size`` items a
step. Batches are in storage form (uint8 images, float32 points); the learner converts them.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from components.datasets.manifest import Manifest, Shard
from components.datasets.shards import Split, read_shard, read_split
from components.errors import UserError


class Batch(NamedTuple):
    """Items of one step: x uint8 N×C×H×W or float32 N×D; labels int64 N, or None."""

    x: Tensor
    labels: Tensor | None


class Batches(ABC):
    """An endless, resumable series of batches.

    Attributes:
        steps_per_epoch: steps in one pass over the data, the last, partial batch left out.
    """

    def __init__(self, steps_per_epoch: int) -> None:
        self.steps_per_epoch = steps_per_epoch
        self._epoch = 0
        self._position = 0

    @abstractmethod
    def next(self) -> Batch:
        """Return this rank's part of the next batch."""

    def state_dict(self) -> dict[str, int]:
        """Return the position, the same for all ranks: the epoch, and the steps done in it."""
        return {"epoch": self._epoch, "position": self._position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go to a position: ``next`` continues from there exactly as it would have.

        Raises:
            UserError: the data has fewer steps than that.
        """
        if not 0 <= state["position"] < self.steps_per_epoch:
            raise UserError(
                f"cannot resume at step {state['position']} of an epoch of {self.steps_per_epoch}: "
                "the data or the batch size has changed; start afresh"
            )
        self._epoch, self._position = state["epoch"], state["position"]

    def _advance(self) -> tuple[int, int]:
        """Return (epoch, position) of the batch to give now, and move on by one."""
        now = self._epoch, self._position
        self._position += 1
        if self._position == self.steps_per_epoch:
            self._epoch, self._position = self._epoch + 1, 0
        return now


class MemoryBatches(Batches):
    """Batches of a split that is held in memory.

    Each epoch is a permutation of all items drawn from (seed, epoch). Rank r takes the r-th slice
    of each global batch, so the batches do not depend on the number of ranks.

    Args:
        split: the data.
        batch_size: global, items a step.
        seed: of the permutations.
        rank: this worker, 0 to ``world_size`` − 1.
        world_size: number of workers.

    Raises:
        UserError: ``batch_size`` exceeds the data or cannot be shared out equally.
    """

    def __init__(
        self, split: Split, batch_size: int, seed: int, rank: int = 0, world_size: int = 1
    ) -> None:
        self._split = split
        self._seed = seed
        self._share = _share(batch_size, world_size)
        self._start = rank * self._share
        self._batch_size = batch_size
        self._permuted: tuple[int, Tensor] | None = None
        super().__init__(_steps(split.name, len(split), batch_size))

    def next(self) -> Batch:
        """Return this rank's part of the next batch, as copies."""
        epoch, position = self._advance()
        if self._permuted is None or self._permuted[0] != epoch:
            self._permuted = epoch, _permutation(len(self._split), self._seed, epoch)
        start = position * self._batch_size + self._start
        chosen = self._split.take(self._permuted[1][start : start + self._share])
        return Batch(chosen.x, chosen.labels)


class StreamBatches(Batches):
    """Batches streamed from the shards, for splits larger than memory.

    Each epoch the shards are shuffled by (seed, epoch) and dealt to the ranks; a rank reads its
    shards a window at a time and shuffles the items of a window together. Unlike those of
    `MemoryBatches`, the batches depend on ``world_size``, and neighbours in a shard stay within a
    window of one another. A resumed stream reads only the window that it stands in.

    Args:
        folder: a folder of shards.
        split: ``train`` or ``test``.
        batch_size: global, items a step.
        seed: of the order.
        rank: this worker, 0 to ``world_size`` − 1.
        world_size: number of workers.
        exclude_last: items kept out, see `split_validation`.
        window: shards shuffled together and held in memory.

    Raises:
        UserError: there are fewer shards than workers, ``batch_size`` exceeds a worker's share of
            the data or cannot be shared out equally, or the data is missing or damaged.
    """

    def __init__(
        self,
        folder: Path,
        split: str,
        batch_size: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        exclude_last: int = 0,
        window: int = 4,
    ) -> None:
        self._folder, self._rank, self._world_size, self._window = folder, rank, world_size, window
        self._manifest = Manifest.load(folder)
        self._shards = self._manifest.shards(split)
        self._kept = _kept_by_shard(self._manifest.name, self._shards, exclude_last)
        self._seed = seed
        self._share = _share(batch_size, world_size)
        if len(self._shards) < world_size:
            raise UserError(
                f"{folder} has {len(self._shards)} shards of {split}, fewer than {world_size} "
                f"workers; lower shard_megabytes of shard.{folder.name} in params.yaml and run: "
                f"dvc repro shard@{folder.name}"
            )
        # Which shards a rank is dealt changes with the epoch; the smallest hand bounds them all,
        # so that every rank takes the same number of steps in every epoch.
        sizes = sorted(len(kept) for kept in self._kept)
        smallest_hand = sum(sizes[: len(sizes) // world_size])
        self._held: tuple[tuple[int, int], Split] | None = None
        self._verified: set[int] = set()
        super().__init__(_steps(self._manifest.name, smallest_hand, self._share))

    def next(self) -> Batch:
        """Return this rank's part of the next batch."""
        epoch, position = self._advance()
        order = _permutation(len(self._shards), self._seed, epoch).tolist()
        hand = order[self._rank :: self._world_size]
        skip, wanted = position * self._share, self._share
        parts: list[Split] = []
        for first in range(0, len(hand), self._window):
            window = hand[first : first + self._window]
            size = sum(len(self._kept[index]) for index in window)
            if skip < size and wanted:
                items = self._read(epoch, first, window)
                parts.append(items.slice(skip, skip + wanted))
                wanted -= len(parts[-1])
            skip = max(0, skip - size)
        batch = _join(parts)
        return Batch(batch.x, batch.labels)

    def _read(self, epoch: int, first: int, window: list[int]) -> Split:
        """Return the shuffled items of a window; the one read last is held."""
        if self._held is None or self._held[0] != (epoch, first):
            self._held = None  # frees the old window before the new one is read
            items = _join([self._read_shard(index) for index in window])
            # Numbers from 1: to the generator's seed, trailing zeros are nothing.
            place = (epoch, self._rank + 1, first + 1)
            order = _permutation(len(items), self._seed, *place)
            self._held = (epoch, first), items.take(order)
        return self._held[1]

    def _read_shard(self, index: int) -> Split:
        first_time = index not in self._verified
        items = read_shard(self._folder, self._manifest, self._shards[index], verify=first_time)
        self._verified.add(index)
        kept = self._kept[index]
        return items if len(kept) == len(items) else items.take(kept)


def open_batches(
    folder: Path,
    split: str,
    batch_size: int,
    seed: int,
    rank: int,
    world_size: int,
    memory_limit_bytes: int,
    exclude_last: int = 0,
) -> MemoryBatches | StreamBatches:
    """Open a split for training: in memory if it fits, else streamed.

    Args:
        folder: a folder of shards.
        split: ``train`` or ``test``.
        batch_size: global, items a step.
        seed: of the order.
        rank: this worker, 0 to ``world_size`` − 1.
        world_size: number of workers.
        memory_limit_bytes: the most that this worker may hold.
        exclude_last: items kept out, see `split_validation`.

    Raises:
        UserError: see `MemoryBatches` and `StreamBatches`.
    """
    manifest = Manifest.load(folder)
    if manifest.count(split) * manifest.item_bytes > memory_limit_bytes:
        return StreamBatches(folder, split, batch_size, seed, rank, world_size, exclude_last)
    items, _ = split_validation(read_split(folder, split), exclude_last)
    return MemoryBatches(items, batch_size, seed, rank, world_size)


def split_validation(split: Split, n: int) -> tuple[Split, Split]:
    """Take ``n`` items out of a split, always the same ones for a data set's name and size.

    Args:
        split: usually ``train``.
        n: items to take: the last ``n`` of a permutation fixed by ``split.name``.

    Returns:
        (the rest, the ``n`` items), each in the split's own order.

    Raises:
        UserError: there are not more than ``n`` items.
    """
    out = _validation_mask(split.name, len(split), n)
    return (split.take((~out).nonzero()[:, 0]) if n else split), split.take(out.nonzero()[:, 0])


def _kept_by_shard(name: str, shards: tuple[Shard, ...], exclude_last: int) -> list[Tensor]:
    """Return, for each shard, the int64 indices within it that are not held out."""
    counts = [shard.count for shard in shards]
    out = _validation_mask(name, sum(counts), exclude_last)
    return [(~part).nonzero()[:, 0] for part in out.split(counts)]


def _validation_mask(name: str, count: int, n: int) -> Tensor:
    if not 0 <= n < count:
        raise UserError(f"cannot hold {n} validation items out of the {count} of data set {name}")
    key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8])
    mask = torch.zeros(count, dtype=torch.bool)
    mask[_permutation(count, key)[count - n :]] = True
    return mask


def _permutation(count: int, *key: int) -> Tensor:
    """Return a permutation of 0 to ``count`` − 1 (int64) that depends on ``key`` alone."""
    seed = np.random.SeedSequence([part % 2**64 for part in key]).generate_state(1, np.uint64)
    return torch.randperm(count, generator=torch.Generator().manual_seed(int(seed[0])))


def _share(batch_size: int, world_size: int) -> int:
    if batch_size < 1 or batch_size % world_size:
        raise UserError(
            f"batch_size {batch_size} cannot be shared equally by {world_size} workers; "
            f"use a positive multiple of {world_size}"
        )
    return batch_size // world_size


def _steps(name: str, count: int, batch_size: int) -> int:
    if count < batch_size:
        raise UserError(
            f"data set {name} gives a worker {count} items an epoch, fewer than its {batch_size} "
            "of a batch; lower batch_size"
        )
    return count // batch_size


def _join(parts: list[Split]) -> Split:
    if len(parts) == 1:
        return parts[0]
    labels = [part.labels for part in parts if part.labels is not None]
    x = torch.cat([part.x for part in parts])
    return Split(x, torch.cat(labels) if labels else None, parts[0].name)
