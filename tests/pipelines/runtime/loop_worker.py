"""One of two workers in the training loop, run as a script by the tests."""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from loop_cases import elbo_learner, exported, plan, points
from torch import nn
from two_workers import work_together

from components.datasets.loading import MemoryBatches
from components.datasets.shards import Split
from pipelines.runtime.checkpoints import FolderStore
from pipelines.runtime.loop import train
from pipelines.runtime.progress import Board, BoardReporter
from pipelines.runtime.task import Task, Validation

# What the workers would find if each judged for itself; the second would stop later.
SCORES = ((5.0, 3.0, 4.0, 2.9, 2.0, 1.0), (9.0, 8.0, 7.0, 6.0, 5.0, 4.0))


def judged(rank: int) -> dict[str, Any]:
    """A training with a stopping rule."""
    calls: list[int] = []

    def validate(model: nn.Module, step: int) -> Validation:
        calls.append(step)
        score = SCORES[rank][step // 4 - 1]
        return Validation({"validation_score": score}, score, points().byte().numpy())

    return trained(rank, validate, stop_gain=0.01) | {"calls": calls}


def broken(rank: int) -> dict[str, Any]:
    """A training in which the weights of worker 1 break in the tenth step."""
    return trained(rank, None, breaks=rank == 1)


def trained(rank: int, validate: Any, breaks: bool = False, **changes: Any) -> dict[str, Any]:
    learner, seeds = elbo_learner(), []
    step_of, reseed = learner.training_step, learner.reseed

    def breaking(batch: Any, step: int) -> Any:
        metrics = step_of(batch, step)
        if breaks and step == 9 and not seeds:
            with torch.no_grad():
                next(iter(learner.exported().parameters())).fill_(torch.nan)
        return metrics

    def noted(seed: int) -> None:
        seeds.append(seed)
        reseed(seed)

    learner.training_step, learner.reseed = breaking, noted
    batches = MemoryBatches(Split(points(), name="points"), 32, 3, rank, 2)
    board = Board()
    with tempfile.TemporaryDirectory() as folder:
        store = FolderStore(Path(folder))
        task, reporter = Task(learner, batches, validate), BoardReporter(board.post)
        outcome = train(task, plan(**changes), 5, rank, None, store, reporter)
    made = Task(learner, batches)
    pictures = [event["step"] for event in board.take() if event["kind"] == "picture"]
    return {
        "outcome": asdict(outcome),
        "weights": exported(made),
        "seeds": seeds,
        "pictures": pictures,
    }


if __name__ == "__main__":
    with work_together() as (rank, kept):
        kept["judged"] = judged(rank)
        kept["broken"] = broken(rank)
