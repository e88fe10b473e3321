"""Batches: every item once an epoch, the same for any number of workers, resumable anywhere."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from components.datasets.loading import (
    Batches,
    MemoryBatches,
    StreamBatches,
    open_batches,
    split_validation,
)
from components.datasets.shards import RawSplit, Split, read_split, write_shards
from components.errors import UserError

COUNT = 1_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Points whose first coordinate is their number, in eight shards."""
    path = tmp_path_factory.mktemp("data") / "numbers"
    x = np.stack([np.arange(COUNT), np.zeros(COUNT)], axis=1).astype(np.float32)
    labels = np.arange(COUNT) % 10
    raw = {split: RawSplit(COUNT, iter([(x, labels)])) for split in ("train", "test")}
    write_shards(
        path, raw, name="numbers", kind="points", shape=(2,), shard_megabytes=0.001,
        classes=tuple("abcdefghij"),
    )  # fmt: skip
    return path


def make(kind: str, folder: Path, size: int, seed: int = 5, *worker: int) -> Batches:
    if kind == "memory":
        return MemoryBatches(read_split(folder, "train"), size, seed, *worker)
    return StreamBatches(folder, "train", size, seed, *worker)


def numbers(batches: Batches, steps: int) -> list[list[int]]:
    drawn = [batches.next() for _ in range(steps)]
    for batch in drawn:
        assert batch.labels is not None
        assert torch.equal(batch.labels, batch.x[:, 0].long() % 10)
    return [batch.x[:, 0].long().tolist() for batch in drawn]


def joined(batches: list[list[int]]) -> list[int]:
    return list(itertools.chain.from_iterable(batches))


@pytest.mark.parametrize("kind", ["memory", "stream"])
class TestBoth:
    def test_an_epoch_holds_every_item_once(self, kind: str, folder: Path) -> None:
        batches = make(kind, folder, 50)
        assert batches.steps_per_epoch == 20
        epochs = [joined(numbers(batches, 20)) for _ in range(3)]
        assert all(sorted(epoch) == list(range(COUNT)) for epoch in epochs)
        assert epochs[0] != epochs[1] != epochs[2]

    def test_partial_batch_is_dropped(self, kind: str, folder: Path) -> None:
        batches = make(kind, folder, 300)
        assert batches.steps_per_epoch == 3
        epoch = joined(numbers(batches, 3))
        assert len(set(epoch)) == 900

    def test_the_seed_decides(self, kind: str, folder: Path) -> None:
        first, same, other = (numbers(make(kind, folder, 64, s), 20) for s in (5, 5, 6))
        assert first == same != other

    @pytest.mark.parametrize("size", [70, 200, 1_000])
    def test_resumes_exactly_anywhere(self, kind: str, folder: Path, size: int) -> None:
        whole = make(kind, folder, size)
        steps = 3 * whole.steps_per_epoch
        states: list[dict[str, int]] = []
        batches: list[list[int]] = []
        for _ in range(steps):
            states.append(whole.state_dict())
            batches += numbers(whole, 1)
        for start in range(steps):  # also the first and last step of each epoch
            resumed = make(kind, folder, size)
            resumed.load_state_dict(states[start])
            until = min(steps, start + 3)
            assert numbers(resumed, until - start) == batches[start:until]

    def test_going_back_repeats(self, kind: str, folder: Path) -> None:
        batches = make(kind, folder, 100)
        state = batches.state_dict()
        first = numbers(batches, 25)
        batches.load_state_dict(state)
        assert numbers(batches, 25) == first

    def test_a_position_of_other_data_is_refused(self, kind: str, folder: Path) -> None:
        with pytest.raises(UserError, match="cannot resume at step 15 of an epoch of 10"):
            make(kind, folder, 100).load_state_dict({"epoch": 0, "position": 15})

    def test_workers_take_disjoint_items(self, kind: str, folder: Path) -> None:
        workers = [make(kind, folder, 100, 5, rank, 2) for rank in (0, 1)]
        assert workers[0].steps_per_epoch == workers[1].steps_per_epoch == 10
        for _ in range(2):
            drawn = [joined(numbers(worker, 10)) for worker in workers]
            assert all(len(items) == 500 for items in drawn)
            assert len(set(drawn[0]) | set(drawn[1])) == 1_000

    def test_wrong_sizes(self, kind: str, folder: Path) -> None:
        with pytest.raises(UserError, match="batch_size 101 cannot be shared equally by 2 workers"):
            make(kind, folder, 101, 5, 0, 2)
        with pytest.raises(UserError, match=r"1000 items an epoch, fewer than its 1001"):
            make(kind, folder, 1_001)
        with pytest.raises(UserError, match="batch_size 0"):
            make(kind, folder, 0)


@pytest.mark.parametrize("world_size", [2, 4])
def test_memory_batches_do_not_depend_on_the_number_of_workers(
    folder: Path, world_size: int
) -> None:
    alone = make("memory", folder, 48)
    workers = [make("memory", folder, 48, 5, rank, world_size) for rank in range(world_size)]
    for _ in range(2 * alone.steps_per_epoch):
        together = joined([numbers(worker, 1)[0] for worker in workers])
        assert together == numbers(alone, 1)[0]


def test_memory_batches_keep_images_as_they_are() -> None:
    images = torch.arange(200, dtype=torch.uint8).reshape(200, 1, 1, 1)
    batch = MemoryBatches(Split(images), 10, 0).next()
    assert batch.x.dtype == torch.uint8 and batch.x.shape == (10, 1, 1, 1) and batch.labels is None


def test_stream_shuffles_across_the_shards_of_a_window(folder: Path) -> None:
    first = numbers(StreamBatches(folder, "train", 100, 5), 1)[0]
    assert len({number // 125 for number in first}) == 4
    assert first != sorted(first)


def test_stream_needs_a_shard_a_worker(folder: Path) -> None:
    with pytest.raises(
        UserError, match=r"8 shards of train, fewer than 9 workers; lower shard_meg"
    ):
        StreamBatches(folder, "train", 90, 5, 0, 9)


@pytest.mark.parametrize("kind", ["memory", "stream"])
def test_resume_does_not_need_the_other_ranks_state(kind: str, folder: Path) -> None:
    workers = [make(kind, folder, 100, 5, rank, 2) for rank in (0, 1)]
    for worker in workers:
        numbers(worker, 13)
    state = workers[0].state_dict()
    resumed = make(kind, folder, 100, 5, 1, 2)
    resumed.load_state_dict(state)
    assert numbers(resumed, 5) == numbers(workers[1], 5)


def test_stream_finds_a_damaged_shard(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "numbers"
    copy.mkdir()
    for file in folder.iterdir():
        data = bytearray(file.read_bytes())
        if file.name == "train-00003.tar":
            data[2_000] ^= 1
        (copy / file.name).write_bytes(data)
    with pytest.raises(UserError, match=r"train-00003.tar is damaged; .*shard@numbers"):
        numbers(StreamBatches(copy, "train", 100, 5), 10)


@pytest.mark.parametrize(("limit", "kind"), [(8_000, MemoryBatches), (7_999, StreamBatches)])
def test_validation_items_are_never_trained_on(
    folder: Path, limit: int, kind: type[Batches]
) -> None:
    train, held_out = split_validation(read_split(folder, "train"), 200)
    batches = open_batches(folder, "train", 40, 5, 0, 1, limit, exclude_last=200)
    assert type(batches) is kind
    assert batches.steps_per_epoch == 20
    seen = joined(numbers(batches, 20))
    assert sorted(seen) == train.x[:, 0].long().tolist()
    assert not set(seen) & set(held_out.x[:, 0].long().tolist())


def test_validation_split_is_fixed_by_the_name() -> None:
    def held_out(name: str, n: int) -> list[int]:
        x = torch.arange(100.0)[:, None]
        rest, out = split_validation(Split(x, name=name), n)
        assert len(rest) == 100 - n and len(out) == n
        return [int(value) for value in out.x[:, 0]]

    assert held_out("mnist", 20) == held_out("mnist", 20) != held_out("digits", 20)
    assert set(held_out("mnist", 10)) < set(held_out("mnist", 20))
    assert held_out("mnist", 0) == []
    for n in (100, -1):
        with pytest.raises(UserError, match="out of the 100 of data set mnist"):
            held_out("mnist", n)


def test_every_permutation_is_as_likely() -> None:
    split = Split(torch.arange(3)[:, None])
    batches = MemoryBatches(split, 3, 0)
    counts: dict[Any, int] = {}
    for _ in range(3_000):
        order = tuple(batches.next().x[:, 0].tolist())
        counts[order] = counts.get(order, 0) + 1
    assert len(counts) == 6
    assert all(abs(count - 500) < 5 * np.sqrt(500) for count in counts.values())
