"""What the trainings of chapter 6 have in common: descriptions, seeds, validations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from components.models.build import Description
from components.models.build_diffusion import build_discriminator
from components.models.ddpm import DDPM
from components.models.denoising_gan import DenoisingGAN
from components.models.plain_gan import PlainGAN
from pipelines.runtime.launch import Place
from pipelines.runtime.pictures import picture_of
from pipelines.runtime.settings import DDPMPretrain, DenoisingGANPretrain, Diffusion, GANPretrain
from pipelines.runtime.task import Validation
from pipelines.training.entries import FEATURES
from pipelines.training.selection import ROWS, SHOWN, measure_of, samples_wanted

DenoisingSettings = DenoisingGANPretrain | DDPMPretrain | GANPretrain
DenoisingModel = DenoisingGAN | DDPM | PlainGAN


def inputs_of(settings: DenoisingSettings) -> dict[str, Path]:
    """What a training reads beside its data set's shards: the judge of its validations."""
    judged = settings.select.kind == "frechet"
    return {"features": FEATURES / settings.data} if judged else {}


def diffusion_of(settings: Diffusion) -> Description:
    """The process as `components.samplers.diffusion.DiffusionSettings` takes it."""
    schedule = settings.schedule.model_dump()
    return {"steps": settings.steps, "schedule": schedule.pop("kind"), **schedule}


def seeded_discriminator(
    description: Mapping[str, Any],
    shape: tuple[int, ...],
    steps: int,
    conditional: bool,
    seed: int,
) -> nn.Module:
    """Make a discriminator whose weights are those of a seed, the same on all workers."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_discriminator(description, shape, steps, conditional)


def validation_of(
    settings: DenoisingSettings, description: Mapping[str, Any], place: Place
) -> Callable[[nn.Module, int], Validation]:
    """Draw samples as the model itself draws them and measure how far they are from data."""
    select = settings.select
    measure = measure_of(select, settings.plan, description, place.device)
    count = samples_wanted(select)

    def validate(model: nn.Module, step: int) -> Validation:
        generator = torch.Generator(place.device).manual_seed(settings.seed)
        sizes = [min(ROWS, count - first) for first in range(0, count, ROWS)]
        drawn = [cast(DenoisingModel, model).sample(size, generator).items for size in sizes]
        items = torch.cat(drawn)
        metrics = measure(items)
        score = next(iter(metrics.values())) if metrics else None
        return Validation(metrics, score, picture_of(items[:SHOWN]))

    return validate
