"""An EBM whose finite sampler generates: the trainings of `pretrain` of kind short-run-ebm."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import torch

from components.datasets.shards import Manifest
from components.learners.short_run import ShortRunLearner, ShortRunSettings
from components.models.build import Description, seeded
from components.models.short_run import ShortRunEBM
from components.samplers.replay_buffer import ReplayBuffer
from pipelines.runtime.builders import (
    computing_of,
    langevin_of,
    open_training_batches,
    schedule_of,
    updater_arguments,
)
from pipelines.runtime.launch import Place
from pipelines.runtime.loop import stream_seed
from pipelines.runtime.settings import ShortRunPretrain
from pipelines.runtime.stage import Training
from pipelines.runtime.task import Task
from pipelines.training.entries import SHARDS, base_training
from pipelines.training.selection import judge_of, validation_of


def training_of(name: str, settings: ShortRunPretrain) -> Training:
    """An entry's training, resolved.

    Raises:
        UserError: no shards.
    """
    model = describe(settings, Manifest.load(SHARDS / settings.data))
    chain = langevin_of(settings.langevin)
    return base_training(name, settings, model, judge_of(settings), chain)


def describe(settings: ShortRunPretrain, manifest: Manifest) -> Description:
    """What `components.models.build` needs to make the model."""
    return {
        "kind": settings.kind,
        "shape": list(manifest.shape),
        "energy": settings.energy.model_dump(),
        "langevin": asdict(langevin_of(settings.langevin)),
        "start": settings.start.model_dump(),
    }


def build(description: dict[str, Any], place: Place) -> Task:
    """Make a worker's part of the training (see `pipelines.runtime.launch`)."""
    settings = ShortRunPretrain.model_validate(description["settings"])
    plan = settings.plan
    model = cast(ShortRunEBM, seeded(description["model"], settings.seed))
    learner = ShortRunLearner(
        model,
        ShortRunSettings(
            generator_weight=settings.generator_weight,
            checkpoint=settings.checkpoint,
            energy_magnitude=settings.energy_magnitude,
            max_gap=settings.max_gap,
        ),
        schedule_of(settings.optimiser, plan.steps),
        updater_arguments(settings.optimiser),
        _replay(settings, model, place.device),
        stream_seed(settings.seed, place.rank, 0),
        computing_of(plan, place),
    )
    shards = Path(description["shards"])
    batches = open_training_batches(shards, plan, settings.seed, place)
    return Task(learner, batches, validation_of(settings, description, place))


def _replay(
    settings: ShortRunPretrain, model: ShortRunEBM, device: torch.device
) -> ReplayBuffer | None:
    replay = settings.replay
    if replay is None:
        return None
    return ReplayBuffer(replay.size, model.shape, replay.probability, replay.anneal_steps, device)
