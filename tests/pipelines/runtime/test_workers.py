"""Trainings on two real Ray Train workers: what one process learns, and mistakes told at once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from components.datasets.shards import RawSplit, write_shards
from components.errors import UserError
from components.models.build import build_model
from pipelines.runtime.identity import REPOSITORY
from pipelines.runtime.launch import Job, run_training
from pipelines.runtime.settings import ClassifierTraining, Runtime, load_params

FAULTY = """
import torch
from components.errors import UserError
from components.learners.parallel import average_tensors

def build(description, place):
    with open(f"{description['attempts']}-{place.rank}", "a") as file:
        file.write("started\\n")
    if place.rank == 1:
        raise UserError("worker 1 has something to say")
    average_tensors([torch.zeros(1)])  # the other worker waits for it
"""
MODEL = {"kind": "classifier", "shape": [1, 8, 8], "classes": 3, "width": 4, "dropout": 0.0}


class Notes:
    """A log that remembers."""

    def __init__(self) -> None:
        self.curves: list[tuple[int, dict[str, float]]] = []

    def metrics(self, step: int, values: Any, milliseconds: int) -> None:
        self.curves.append((step, dict(values)))

    def picture(self, step: int, name: str, image: Any) -> None: ...


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    """Two workers on a Ray of these tests' own, which find the module of the faulty builder."""
    import ray

    folder = tmp_path_factory.mktemp("modules")
    (folder / "faulty_task.py").write_text(FAULTY)
    before = dict(os.environ)
    os.environ["PYTHONPATH"] = f"{folder}{os.pathsep}{REPOSITORY}"
    made = load_params(REPOSITORY / "params.yaml").runtime
    yield made.model_copy(update={"num_workers": 2, "threads": 1, "ray_address": "local"})
    ray.shutdown()
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise whose brightness is the label."""
    random, splits = np.random.default_rng(0), {}
    for split, count in (("train", 300), ("test", 30)):
        labels = random.integers(0, 3, count)
        images = random.integers(0, 150, (count, 1, 8, 8)) + 50 * labels[:, None, None, None]
        splits[split] = RawSplit(count, [(images.astype(np.uint8), labels)])
    folder = tmp_path_factory.mktemp("shards") / "noise"
    write_shards(
        folder, splits, name="noise", kind="images", shape=(1, 8, 8), classes=("a", "b", "c"),
        shard_megabytes=1,
    )  # fmt: skip
    return folder


@pytest.fixture
def job(shards: Path) -> Job:
    """A classifier with batch norm and without dropout: nothing random but its first weights."""
    optimiser = {
        "learning_rate": 3e-3,
        "betas": (0.9, 0.999),
        "weight_decay": 0.0,
        "warmup_steps": 2,
        "decay": "linear",
        "clip_deviations": None,
        "ema": 0.5,
    }
    plan = {
        "batch_size": 32,
        "precision": "float32",
        "accumulation": 1,
        "steps": 12,
        "log_every": 3,
        "checkpoint_every": 6,
        "validate_every": 4,
        "validation_count": 60,
        "stop_gain": None,
        "max_rollbacks": 0,
    }
    settings = ClassifierTraining.model_validate(
        {"seed": 0, "width": 4, "optimiser": optimiser, "plan": plan}
    )
    return Job(
        name="noise",
        stage="features",
        builder="pipelines.stages.features:build",
        description={
            "settings": settings.model_dump(mode="json"),
            "model": MODEL,
            "shards": str(shards),
        },
        plan=settings.plan,
        seed=0,
        identity="0",
    )


@pytest.mark.pipeline
def test_two_workers_learn_what_one_process_learns(
    job: Job, runtime: Runtime, tmp_path: Path
) -> None:
    here, there = Notes(), Notes()
    alone = run_training(job, runtime.model_copy(update={"num_workers": 0}), tmp_path / "a", here)
    both = run_training(job, runtime, tmp_path / "b", there)
    torch.testing.assert_close(both.weights, alone.weights, rtol=1e-3, atol=1e-5)
    build_model(MODEL).load_state_dict(both.weights)  # a plain model's weights
    assert both.outcome.kept_step == alone.outcome.kept_step
    assert both.outcome.kept_score == pytest.approx(alone.outcome.kept_score)
    assert [step for step, _ in there.curves] == [step for step, _ in here.curves]
    for (_, found), (_, expected) in zip(there.curves, here.curves, strict=True):
        assert found == pytest.approx(expected, rel=1e-3)


@pytest.mark.pipeline
def test_a_mistake_ends_the_training_at_once(job: Job, runtime: Runtime, tmp_path: Path) -> None:
    attempts = tmp_path / "attempts"
    wrong = replace(
        job, builder="faulty_task:build", description={"attempts": str(attempts)}, identity="1"
    )
    assert runtime.max_failures > 0
    with pytest.raises(UserError, match="worker 1 has something to say"):
        run_training(wrong, runtime, tmp_path / "c", Notes())
    for rank in range(2):
        assert Path(f"{attempts}-{rank}").read_text() == "started\n"


def test_a_batch_that_does_not_divide_is_refused(
    job: Job, runtime: Runtime, tmp_path: Path
) -> None:
    three = runtime.model_copy(update={"num_workers": 3})
    with pytest.raises(UserError, match=r"features\.noise: batch_size 32 does not divide among 3"):
        run_training(job, three, tmp_path, Notes())
    parts = replace(job, plan=job.plan.model_copy(update={"accumulation": 32}))
    with pytest.raises(UserError, match="2 workers of 32 parts: make it a multiple of 64"):
        run_training(parts, runtime, tmp_path, Notes())
    assert not list(tmp_path.iterdir())
