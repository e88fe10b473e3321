"""Weak scaling: steps a second of two workers over those of one, the same items each.

Through Ray Train, and by processes without Ray beside the machine's own ceiling: two trainings of
one worker at the same time, which know nothing of each other.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.datasets.manifest import Manifest
from components.datasets.shards import RawSplit, write_shards
from components.models.build import seeded
from components.models.export import export_model
from pipelines.runtime.identity import REPOSITORY
from pipelines.runtime.launch import Job, run_training
from pipelines.runtime.settings import Params, load_params
from pipelines.training.vae import describe

ROUNDS = 3
PROGRAM = Path(__file__).with_name("scaling_process.py")
BATCHES = (1, 4)  # times the main job's
LOG_EVERY = 10
STEPS = {"pretrain": 150, "compose": 40}
RAY_STEPS = {"pretrain": 750, "compose": 150}
"""The first third is not counted: Ray Train starts actors of Ray Data for ten seconds more."""


class Clock:
    """A log that remembers when each step was done."""

    def __init__(self) -> None:
        self.seconds: dict[int, float] = {}

    def metrics(self, step: int, values: Mapping[str, float], milliseconds: int) -> None:
        self.seconds.setdefault(step, milliseconds / 1000)

    def picture(self, step: int, name: str, image: Any) -> None: ...

    def rate(self) -> float:
        """Steps a second, without the first third."""
        last = max(self.seconds)
        first = min(step for step in self.seconds if 3 * step >= last)
        return (last - first) / (self.seconds[last] - self.seconds[first])


@pytest.fixture(scope="module")
def params() -> Iterator[Params]:
    """The main job's settings; Ray is started for these benchmarks and stopped after them."""
    import ray

    before = dict(os.environ)
    yield load_params(REPOSITORY / "params.yaml")
    ray.shutdown()
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory, params: Params) -> dict[str, Path]:
    """Images of noise, and an untrained base: a step takes as long with them as with any other."""
    folder = tmp_path_factory.mktemp("inputs")
    random, splits = np.random.default_rng(0), {}
    for split, count in (("train", 2000), ("test", 10)):
        images = random.integers(0, 256, (count, 1, 28, 28), dtype=np.uint8)
        splits[split] = RawSplit(count, [(images, None)])
    write_shards(
        folder / "noise", splits, name="noise", kind="images", shape=(1, 28, 28), classes=(),
        shard_megabytes=16,
    )  # fmt: skip
    base = describe(params.pretrain["vae-fashion"], Manifest.load(folder / "noise"))
    (folder / "base").mkdir()
    export_model(folder / "base", base, seeded(base, 0).state_dict(), {})
    return {"shards": folder / "noise", "base": folder / "base", "features": folder}


def job(stage: str, workers: int, params: Params, inputs: dict[str, Path], times: int = 1) -> Job:
    """The main job's training on images, its batch size (times so much) that of one worker."""
    base = describe(params.pretrain["vae-fashion"], Manifest.load(inputs["shards"]))
    settings: Any
    if stage == "pretrain":
        settings, model = params.pretrain["vae-fashion"], base
    else:
        settings = params.compose["vaebm-fashion"]
        settings = settings.model_copy(update={"warm_start": None, "max_gap": 1e9})
        energy = settings.energy.model_dump()
        model = {"kind": "vaebm", "base": base, "energy": energy, "space": settings.space}
    rhythm = dict.fromkeys(("steps", "checkpoint_every", "validate_every"), RAY_STEPS[stage])
    shares = {"batch_size": settings.plan.batch_size * workers * times, "validation_count": 100}
    plan = settings.plan.model_copy(update={**rhythm, **shares, "log_every": LOG_EVERY})
    content = settings.model_copy(update={"plan": plan}).model_dump(mode="json")
    if stage == "compose":
        content["select"] = {"kind": "last"}
    places = {name: str(path) for name, path in inputs.items()}
    return Job(
        name="noise",
        stage=stage,
        builder=f"pipelines.stages.{stage}:build",
        description={"settings": content, "model": model, **places},
        plan=plan,
        seed=0,
        identity=str(workers),
    )


@pytest.mark.parametrize("stage", STEPS)
def test_weak_scaling(
    benchmark: Any, stage: str, params: Params, inputs: dict[str, Path], tmp_path: Path
) -> None:
    """extra_info["efficiency"]: 1 would be perfect, 0.85 is the aim."""
    runtime = params.runtime.model_copy(update={"threads": 1, "ray_address": "local"})

    def rate(workers: int, number: int) -> float:
        clock, place = Clock(), runtime.model_copy(update={"num_workers": workers})
        run_training(job(stage, workers, params, inputs), place, tmp_path / f"{number}", clock)
        return clock.rate()

    def pairs() -> list[tuple[float, float]]:
        # Taken in turns, so that a busy neighbour slows both alike.
        return [(rate(1, 2 * n), rate(2, 2 * n + 1)) for n in range(ROUNDS)]

    found = benchmark.pedantic(pairs, rounds=1)
    benchmark.extra_info["steps_per_second"] = [[round(x, 2) for x in pair] for pair in found]
    benchmark.extra_info["efficiency"] = statistics.median(two / one for one, two in found)
    benchmark.extra_info["load"] = os.getloadavg()[0]


class Processes:
    """Workers of one training, or trainings of one worker, that start their steps together."""

    def __init__(self, job: Job, folder: Path, steps: int, trainings: int, workers: int) -> None:
        folder.mkdir()
        content = {"stage": job.stage, "description": job.description, "steps": steps}
        content["meeting"] = str(folder / "meeting")
        (folder / "job.json").write_text(json.dumps(content))
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
        self.steps = steps
        self.running = [
            subprocess.Popen(
                [sys.executable, str(PROGRAM), str(folder / "job.json"), str(rank), str(workers)],
                env=environment,
                text=True,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            for _ in range(trainings)
            for rank in range(workers)
        ]

    def rate(self) -> float:
        """Steps a second of the slowest."""
        for each in self.running:
            assert each.stdout is not None and each.stdout.readline() == "ready\n"
        for each in self.running:
            assert each.stdin is not None
            each.stdin.write("go\n")
            each.stdin.flush()
        seconds = [float(each.communicate()[0]) for each in self.running]
        return self.steps / max(seconds)


@pytest.mark.parametrize("times", BATCHES)
@pytest.mark.parametrize("stage", STEPS)
def test_weak_scaling_without_ray(
    benchmark: Any,
    stage: str,
    times: int,
    params: Params,
    inputs: dict[str, Path],
    tmp_path: Path,
) -> None:
    """extra_info: "efficiency" of two workers, "ceiling" of two trainings side by side."""
    steps = max(10, STEPS[stage] // times)

    def rate(name: str, trainings: int, workers: int) -> float:
        work = job(stage, workers, params, inputs, times)
        return Processes(work, tmp_path / name, steps, trainings, workers).rate()

    def rounds() -> list[tuple[float, float, float]]:
        return [
            (rate(f"one-{n}", 1, 1), rate(f"apart-{n}", 2, 1), rate(f"together-{n}", 1, 2))
            for n in range(ROUNDS)
        ]

    found = benchmark.pedantic(rounds, rounds=1)
    info = benchmark.extra_info
    info["steps_per_second"] = [[round(x, 2) for x in each] for each in found]
    info["ceiling"] = statistics.median(apart / one for one, apart, _ in found)
    info["efficiency"] = statistics.median(together / one for one, _, together in found)
    info["of_ceiling"] = statistics.median(together / apart for _, apart, together in found)
    info["load"] = os.getloadavg()[0]
