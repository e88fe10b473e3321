"""A diffusion model of many small steps: the trainings of `pretrain` of kind ddpm."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from components.datasets.shards import Manifest
from components.learners.ddpm import DDPMLearner
from components.models.build import Description, seeded
from components.models.ddpm import DDPM
from pipelines.runtime.builders import computing_of, open_training_batches
from pipelines.runtime.launch import Place
from pipelines.runtime.loop import stream_seed
from pipelines.runtime.settings import DDPMPretrain
from pipelines.runtime.stage import Training
from pipelines.runtime.task import Task
from pipelines.training.denoising import diffusion_of
from pipelines.training.entries import SHARDS, base_training
from pipelines.training.latent import optimisation_of
from pipelines.training.selection import judge_of, validation_of


def training_of(name: str, settings: DDPMPretrain) -> Training:
    """An entry's training, resolved.

    Raises:
        UserError: no shards.
    """
    model = describe(settings, Manifest.load(SHARDS / settings.data))
    return base_training(name, settings, model, judge_of(settings))


def describe(settings: DDPMPretrain, manifest: Manifest) -> Description:
    """What `components.models.build` needs to make the model."""
    return {
        "kind": settings.kind,
        "shape": list(manifest.shape),
        "network": settings.network.model_dump(),
        "diffusion": diffusion_of(settings.diffusion),
        "sampler": settings.sampler.model_dump(),
        "scale": settings.scale,
    }


def build(description: dict[str, Any], place: Place) -> Task:
    """Make a worker's part of the training (see `pipelines.runtime.launch`)."""
    settings = DDPMPretrain.model_validate(description["settings"])
    plan = settings.plan
    learner = DDPMLearner(
        cast(DDPM, seeded(description["model"], settings.seed)),
        optimisation_of(settings.optimiser, plan.steps),
        stream_seed(settings.seed, place.rank, 0),
        computing_of(plan, place),
    )
    batches = open_training_batches(Path(description["shards"]), plan, settings.seed, place)
    return Task(learner, batches, validation_of(settings, description, place))
