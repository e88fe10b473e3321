"""What the trainings of chapter 6 have in common: descriptions and seeds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from components.models.build import Description
from components.models.build_diffusion import build_discriminator
from pipelines.runtime.settings import Diffusion


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
