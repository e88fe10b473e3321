"""Checkpoints that several workers write together, and that another number of them takes up."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from components.datasets.loading import StreamBatches
from components.datasets.shards import RawSplit, write_shards
from components.learners.elbo import ELBOLearner
from pipelines.runtime.checkpoints import FolderStore
from pipelines.runtime.identity import identity
from pipelines.runtime.loop import train
from pipelines.runtime.progress import Board, BoardReporter
from pipelines.runtime.task import Task
from tests.pipelines.runtime.loop_cases import (
    KilledError,
    MortalStore,
    elbo_learner,
    elbo_score,
    plan,
    points,
    run,
    task,
)


def write(folder: Path, step: int, workers: int, missing: int | None = None) -> None:
    for rank in range(workers):
        if rank != missing:
            FolderStore(folder, rank, workers).save(step, {"from": rank, "step": step})


@pytest.mark.parametrize("readers", [1, 2, 3])
def test_workers_take_the_states_in_a_circle(tmp_path: Path, readers: int) -> None:
    write(tmp_path, 10, workers=2)
    states = [FolderStore(tmp_path, rank, readers).load() for rank in range(readers)]
    assert states == [{"from": rank % 2, "step": 10} for rank in range(readers)]


@pytest.mark.parametrize("missing", [0, 1])
def test_what_not_all_workers_have_written_does_not_count(tmp_path: Path, missing: int) -> None:
    write(tmp_path, 10, workers=2)
    write(tmp_path, 20, workers=2, missing=missing)
    said: list[str] = []
    assert FolderStore(tmp_path, say=said.append).load() == {"from": 0, "step": 10}
    assert said == ["the checkpoint of step 20 is damaged or cut short; that of step 10 is used"]
    # It is in nobody's way any more: another number of workers may come by the same step.
    assert [path.name for path in tmp_path.iterdir()] == ["step-000000010"]


def test_the_first_worker_chooses_for_all(tmp_path: Path) -> None:
    write(tmp_path, 10, workers=2)
    write(tmp_path, 20, workers=2)
    other = FolderStore(tmp_path, 1, 2, agree=lambda make: ("step-000000010", 2))
    assert other.load() == {"from": 1, "step": 10}


def test_two_are_kept(tmp_path: Path) -> None:
    for step in (10, 20, 30, 40):
        write(tmp_path, step, workers=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-000000030", "step-000000040"]


def test_another_number_of_workers_goes_on(tmp_path: Path) -> None:
    """Weights and position are taken over, the random stream is not."""
    with pytest.raises(KilledError):
        run(task(elbo_learner(), elbo_score), plan(), MortalStore(tmp_path / "one", 2))
    state = FolderStore(tmp_path / "one").load()
    assert state is not None and state["outcome"]["step"] == 10
    drawn = []
    for workers in (1, 2):
        board, made = Board(), task(elbo_learner(), elbo_score)
        store = FolderStore(tmp_path / f"from-{workers}")
        saved = {**state, "workers": workers}
        outcome = train(made, plan(), 5, 0, saved, store, BoardReporter(board.post))
        assert outcome.finished and outcome.step == 24
        said = [event["line"] for event in board.take() if event["kind"] == "said"]
        assert said[0] == "goes on from the checkpoint of step 10"
        assert said[1:] == ["2 workers trained before, 1 from here on"] * (workers - 1)
        learner = made.learner
        assert isinstance(learner, ELBOLearner)
        drawn.append(torch.randn(3, generator=learner.generator))
    assert not torch.equal(drawn[0], drawn[1])


def test_a_stream_of_shorter_epochs_is_entered_at_the_next(tmp_path: Path) -> None:
    x = points().numpy()
    raw = {"train": RawSplit(len(x), [(x, None)])}
    write_shards(
        tmp_path / "p", raw, name="p", kind="points", shape=(2,), classes=(), shard_megabytes=1
    )
    board, made = Board(), task(elbo_learner(), elbo_score)
    batches = StreamBatches(tmp_path / "p", "train", 32, 0)
    made = Task(made.learner, batches, elbo_score)
    store = FolderStore(tmp_path / "checkpoints")
    with pytest.raises(KilledError):
        run(made, plan(), MortalStore(tmp_path / "checkpoints", 1))
    state = store.load()
    assert state is not None
    state["batches"] = {"epoch": 3, "position": batches.steps_per_epoch}
    train(made, plan(steps=6), 5, 0, state, store, BoardReporter(board.post))
    assert batches.state_dict() == {"epoch": 4, "position": 1}


def test_all_that_is_read_is_part_of_the_identity(tmp_path: Path) -> None:
    """The features that choose the kept weights, too; of shards the manifest tells all."""
    features, shards = tmp_path / "features", tmp_path / "shards"
    for folder in (features, shards):
        folder.mkdir()
    (features / "imagenet-train.npz").write_bytes(b"1")
    (shards / "manifest.json").write_text("{}")
    (shards / "train-00000.tar").write_bytes(b"1")

    def now() -> str:
        return identity({"seed": 0}, [shards, features], "compose")

    first = now()
    assert now() == first and identity({"seed": 1}, [shards, features], "compose") != first
    (shards / "train-00000.tar").write_bytes(b"2")
    assert now() == first
    (shards / "manifest.json").write_text("{ }")
    second = now()
    assert second != first
    (features / "imagenet-train.npz").write_bytes(b"2")
    assert now() not in (first, second)
