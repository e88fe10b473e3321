"""A denoising diffusion GAN: the trainings of `pretrain` of kind denoising-gan."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from components.datasets.shards import Manifest
from components.learners.denoising_gan import AdversarialSettings, DenoisingGANLearner
from components.models.build import Description, seeded
from components.models.denoising_gan import DenoisingGAN
from pipelines.runtime.builders import computing_of, open_training_batches
from pipelines.runtime.launch import Place
from pipelines.runtime.loop import stream_seed
from pipelines.runtime.settings import DenoisingGANPretrain
from pipelines.runtime.stage import Training
from pipelines.runtime.task import Task
from pipelines.training.denoising import diffusion_of, seeded_discriminator
from pipelines.training.entries import SHARDS, base_training
from pipelines.training.latent import optimisation_of
from pipelines.training.selection import judge_of, validation_of

SHOWING = {"groups_of_one_time", "common_noise"}
"""Settings of a discriminator of images that say what it is shown, not what it is."""


def training_of(name: str, settings: DenoisingGANPretrain) -> Training:
    """An entry's training, resolved.

    Raises:
        UserError: no shards.
    """
    model = describe(settings, Manifest.load(SHARDS / settings.data))
    return base_training(name, settings, model, judge_of(settings))


def describe(settings: DenoisingGANPretrain, manifest: Manifest) -> Description:
    """What `components.models.build` needs to make the model."""
    return {
        "kind": settings.kind,
        "shape": list(manifest.shape),
        "network": settings.network.model_dump(),
        "latent": settings.latent,
        "diffusion": diffusion_of(settings.diffusion),
        "predicts": settings.predicts,
        "scale": settings.scale,
    }


def game_of(settings: DenoisingGANPretrain) -> AdversarialSettings:
    """The game, and how the discriminator is shown pairs; of points as published."""
    shown = settings.discriminator.model_dump(include=SHOWING)
    return AdversarialSettings(**settings.game.model_dump(), **shown)


def build(description: dict[str, Any], place: Place) -> Task:
    """Make a worker's part of the training (see `pipelines.runtime.launch`)."""
    settings = DenoisingGANPretrain.model_validate(description["settings"])
    plan = settings.plan
    model = cast(DenoisingGAN, seeded(description["model"], settings.seed))
    discriminator = seeded_discriminator(
        settings.discriminator.model_dump(exclude=SHOWING),
        model.shape,
        settings.diffusion.steps,
        # One that is shown noised items judges them by themselves, as those of Zhao et al. do.
        conditional=not settings.game.augmentation,
        seed=settings.seed,
    )
    learner = DenoisingGANLearner(
        model,
        discriminator,
        game_of(settings),
        optimisation_of(settings.optimiser, plan.steps),
        optimisation_of(settings.discriminator_optimiser, plan.steps),
        stream_seed(settings.seed, place.rank, 0),
        computing_of(plan, place),
    )
    batches = open_training_batches(Path(description["shards"]), plan, settings.seed, place)
    return Task(learner, batches, validation_of(settings, description, place))
