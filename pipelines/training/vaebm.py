"""An energy-based model on a frozen VAE: the trainings of `compose` of kind vaebm.

The kept checkpoint is chosen by the samples that it makes.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from components.learners.tilting import TiltingLearner, TiltingSettings
from components.models.build import seeded
from components.models.export import load_model, read_story
from components.models.vae import VAE
from components.models.vaebm import VAEBM
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
from pipelines.runtime.pictures import picture_of
from pipelines.runtime.settings import VAEBMCompose
from pipelines.runtime.stage import Training
from pipelines.runtime.task import Task, Validation
from pipelines.training.entries import FEATURES, MODELS, composition_training
from pipelines.training.selection import ROWS, SHOWN, measure_of, samples_wanted


def training_of(name: str, settings: VAEBMCompose) -> Training:
    """An entry's training, resolved.

    Raises:
        UserError: no exported base.
    """
    model = {
        "kind": settings.kind,
        "base": read_story(MODELS / settings.base)["model"],
        "energy": settings.energy.model_dump(),
        "space": settings.space,
    }
    inputs = {"features": FEATURES / settings.data}
    chain = langevin_of(settings.langevin)
    return composition_training(name, settings, model, inputs, chain)


def build(description: dict[str, Any], place: Place) -> Task:
    """Make a worker's part of the training (see `pipelines.runtime.launch`)."""
    settings = VAEBMCompose.model_validate(description["settings"])
    shards, plan = Path(description["shards"]), settings.plan
    model = cast(VAEBM, seeded(description["model"], settings.seed))
    base = cast(VAE, load_model(Path(description["base"])))
    model.base.load_state_dict(base.state_dict())
    learner = TiltingLearner(
        model,
        _objective(settings),
        schedule_of(settings.optimiser, plan.steps - _warm_steps(settings)),
        updater_arguments(settings.optimiser),
        _replay(settings, base.latent, place.device),
        stream_seed(settings.seed, place.rank, 0),
        computing_of(plan, place),
    )
    batches = open_training_batches(shards, plan, settings.seed, place)
    return Task(learner, batches, _validation(settings, description, place))


def _objective(settings: VAEBMCompose) -> TiltingSettings:
    warm = settings.warm_start
    return TiltingSettings(
        langevin=langevin_of(settings.langevin),
        energy_magnitude=settings.energy_magnitude,
        spectral_penalty=settings.spectral_penalty,
        warm_start_steps=_warm_steps(settings),
        warm_start_rate=warm.learning_rate if warm else settings.optimiser.learning_rate,
        warm_start_normaliser=warm is not None and warm.normaliser,
        max_gap=settings.max_gap,
    )


def _warm_steps(settings: VAEBMCompose) -> int:
    return settings.warm_start.steps if settings.warm_start else 0


def _replay(settings: VAEBMCompose, latent: int, device: torch.device) -> ReplayBuffer | None:
    replay = settings.replay
    if replay is None:
        return None
    return ReplayBuffer(replay.size, (latent,), replay.probability, replay.anneal_steps, device)


def _validation(
    settings: VAEBMCompose, description: dict[str, Any], place: Place
) -> Callable[[nn.Module, int], Validation]:
    """Draw a few samples by the training's chain and measure how far they are from data."""
    select, chain = settings.select, langevin_of(settings.langevin)
    measure = measure_of(select, settings.plan, description, place.device)
    count = samples_wanted(select)

    def validate(model: nn.Module, step: int) -> Validation:
        generator = torch.Generator(place.device).manual_seed(settings.seed)
        vaebm = cast(VAEBM, model)
        sizes = [min(ROWS, count - first) for first in range(0, count, ROWS)]
        items = torch.cat([vaebm.sample(size, generator, chain).items for size in sizes])
        metrics = measure(items)
        score = next(iter(metrics.values())) if metrics else None
        return Validation(metrics, score, picture_of(items[:SHOWN]))

    return validate
