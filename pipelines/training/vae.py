"""A variational auto-encoder: the trainings of `pretrain` of kind vae."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from components.datasets.loading import split_validation
from components.datasets.shards import Manifest, read_split
from components.learners.elbo import ELBOLearner
from components.learners.learner import as_model_input
from components.models.build import Description, seeded
from components.models.vae import VAE
from pipelines.runtime.builders import (
    computing_of,
    open_training_batches,
    schedule_of,
    updater_arguments,
)
from pipelines.runtime.launch import Place
from pipelines.runtime.loop import stream_seed
from pipelines.runtime.pictures import picture_of
from pipelines.runtime.settings import VAEPretrain
from pipelines.runtime.stage import Training
from pipelines.runtime.task import Task, Validation
from pipelines.training.entries import SHARDS, base_training
from pipelines.training.selection import SHOWN

ROWS = 1000


def training_of(name: str, settings: VAEPretrain) -> Training:
    """An entry's training, resolved.

    Raises:
        UserError: no shards.
    """
    manifest = Manifest.load(SHARDS / settings.data)
    return base_training(name, settings, describe(settings, manifest))


def describe(settings: VAEPretrain, manifest: Manifest) -> Description:
    """What `components.models.build` needs to make the model."""
    return {
        "kind": settings.kind,
        "shape": list(manifest.shape),
        "latent": settings.latent,
        "likelihood": settings.likelihood,
        "network": settings.network.model_dump(),
    }


def build(description: dict[str, Any], place: Place) -> Task:
    """Make a worker's part of the training (see `pipelines.runtime.launch`)."""
    settings = VAEPretrain.model_validate(description["settings"])
    shards, plan = Path(description["shards"]), settings.plan
    learner = ELBOLearner(
        cast(VAE, seeded(description["model"], settings.seed)),
        settings.beta,
        schedule_of(settings.optimiser, plan.steps),
        updater_arguments(settings.optimiser),
        stream_seed(settings.seed, place.rank, 0),
        computing_of(plan, place),
    )
    batches = open_training_batches(shards, plan, settings.seed, place)
    held_out = split_validation(read_split(shards, "train"), plan.validation_count)[1].x

    @torch.no_grad()
    def validate(model: nn.Module, step: int) -> Validation:
        vae = cast(VAE, model)
        generator = torch.Generator(place.device).manual_seed(settings.seed)
        bounds = [
            vae.bound(as_model_input(part, place.device), generator).elbo
            for part in held_out.split(ROWS)
        ]
        elbo = torch.cat(bounds).mean().item()
        picture = picture_of(vae.sample(SHOWN, generator))
        return Validation({"validation_elbo": elbo}, score=-elbo, picture=picture)

    return Task(learner, batches, validate)
