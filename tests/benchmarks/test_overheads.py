"""What checkpoints and MLflow cost a training at the settings of params.yaml.

Goals: checkpoints under 3 % of the time, MLflow under a millisecond a step on average.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from components.datasets.catalog import find_entry
from components.datasets.shards import Manifest, RawSplit, write_shards
from components.datasets.toy import density
from pipelines.runtime.checkpoints import FolderStore
from pipelines.runtime.identity import REPOSITORY
from pipelines.runtime.launch import Place
from pipelines.runtime.loop import train
from pipelines.runtime.progress import Board, BoardReporter, Follower
from pipelines.runtime.settings import VAEPretrain, load_params
from pipelines.runtime.task import State, Task
from pipelines.runtime.tracking import IDENTITY_TAG, Row, Tracker
from pipelines.training.vae import build, describe

COUNT = 20_000


def shards_of(name: str, folder: Path) -> Path:
    """A small data set of the right shape: times do not depend on what is in the pictures."""
    item = find_entry(REPOSITORY / "data/catalog.yaml", name)
    if item.kind == "points":
        points = density(name).sample(COUNT, torch.Generator().manual_seed(0)).numpy()
        raw = {"train": RawSplit(COUNT, [(points, None)])}
        write_shards(
            folder, raw, name=name, kind="points", shape=(2,), classes=(), shard_megabytes=16
        )
    else:
        images = np.random.default_rng(0).integers(0, 256, (COUNT, 1, 28, 28), dtype=np.uint8)
        raw = {"train": RawSplit(COUNT, [(images, None)])}
        write_shards(
            folder, raw, name=name, kind="images", shape=(1, 28, 28), classes=(), shard_megabytes=16
        )
    return folder


class TimedStore(FolderStore):
    """Adds up the time from the moment that a state is asked for until it is on disk."""

    def __init__(self, folder: Path, task: Task) -> None:
        super().__init__(folder)
        self.seconds, self._asked = 0.0, 0.0
        state_dict = task.learner.state_dict

        def timed() -> dict[str, Any]:
            self._asked = time.perf_counter()
            return state_dict()

        task.learner.state_dict = timed  # type: ignore[method-assign]

    def save(self, step: int, state: State) -> None:
        super().save(step, state)
        self.seconds += time.perf_counter() - self._asked


class TimedReporter(BoardReporter):
    """Adds up what reporting takes of the training's own thread."""

    seconds = 0.0

    def _timed(self, event: dict[str, Any]) -> None:
        began = time.perf_counter()
        self._put(event)
        self.seconds += time.perf_counter() - began

    def __init__(self, board: Board) -> None:
        super().__init__(self._timed)
        self._put = board.post


@dataclass
class TimedLog:
    """Adds up the processor time of the thread that talks to MLflow."""

    row: Row
    seconds: float = 0.0

    def metrics(self, step: int, values: Mapping[str, float], milliseconds: int) -> None:
        began = time.thread_time()
        self.row.metrics(step, values, milliseconds)
        self.seconds += time.thread_time() - began

    def picture(self, step: int, name: str, image: np.ndarray[Any, Any]) -> None:
        began = time.thread_time()
        self.row.picture(step, name, image)
        self.seconds += time.thread_time() - began


@pytest.mark.parametrize("name", ["vae-toy", "vae-fashion"])
def test_share_of_a_training(benchmark: Any, tmp_path: Path, name: str) -> None:
    params = load_params(REPOSITORY / "params.yaml")
    settings = params.pretrain[name]
    assert isinstance(settings, VAEPretrain)
    shards = shards_of(settings.data, tmp_path / "shards")
    torch.set_num_threads(1)
    plan = settings.plan.model_copy(update={"steps": 2 * settings.plan.checkpoint_every})
    model = describe(settings, Manifest.load(shards))
    description = {"settings": settings.model_dump(), "model": model, "shards": str(shards)}
    task = build(description, Place.of(params.runtime, 0, 1, torch.device("cpu")))
    # Judging the model between steps belongs to neither of the two costs.
    task = replace(task, validate=None)
    store, board = TimedStore(tmp_path / "checkpoints", task), Board()
    reporter = TimedReporter(board)
    log = TimedLog(Tracker(params.runtime, tmp_path).row(name, {IDENTITY_TAG: "1"}, {}))

    def run() -> None:
        with Follower(name, board.take, log):
            train(task, plan, 0, 0, None, store, reporter)

    benchmark.pedantic(run, rounds=1)
    seconds = benchmark.stats["total"]
    benchmark.extra_info["steps"] = plan.steps
    benchmark.extra_info["checkpoint_share"] = round(store.seconds / seconds, 4)
    for part, spent in (("own_thread", reporter.seconds), ("mlflow_thread_cpu", log.seconds)):
        benchmark.extra_info[f"{part}_ms_per_step"] = round(1000 * spent / plan.steps, 4)
