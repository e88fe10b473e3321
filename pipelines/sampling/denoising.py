"""Samples of denoising models (chapter 6) for the sample stage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from components.errors import UserError
from components.models.ddpm import DDPM, DDPMSampler
from components.models.denoising_gan import DenoisingGAN, Drawn
from components.models.plain_gan import PlainGAN
from pipelines.runtime.loop import stream_seed
from pipelines.runtime.settings import DenoisingSample, DiffusionSampler, Drawing

DENOISING = (DenoisingGAN, DDPM, PlainGAN)
PATHS_SHOWN = 10


def sampler_of(settings: DiffusionSampler) -> DDPMSampler:
    """A sampler of a diffusion model, from its settings."""
    return DDPMSampler(**settings.model_dump())


def denoised(model: nn.Module, settings: Drawing, count: int, generator: torch.Generator) -> Drawn:
    """Draw items from a denoising model.

    Raises:
        UserError: settings of another kind of model.
    """
    if not isinstance(settings, DenoisingSample):
        raise UserError(
            "a denoising model is sampled by denoising: give sample.NAME.model, sampler (null: its "
            "own) and path_states, instead of langevin and chain_states"
        )
    if isinstance(model, DDPM):
        return model.sample(count, generator, sampler=_sampler(model, settings))
    assert isinstance(model, DenoisingGAN | PlainGAN)
    if settings.sampler is not None:
        raise UserError("sample.NAME.sampler is for a diffusion model (kind ddpm): give null")
    return model.sample(count, generator)


def evaluations(model: nn.Module, settings: Drawing, count: int, generator: torch.Generator) -> int:
    """Network evaluations behind one item, which an ODE's solver decides as it goes."""
    assert isinstance(settings, DenoisingSample)
    if isinstance(model, DDPM):
        how = _sampler(model, settings)
        if how.kind == "ode":
            return denoised(model, settings, count, generator).nfe
        return model.process.steps if how.kind == "ancestral" else how.steps
    return model.process.steps if isinstance(model, DenoisingGAN) else 1


def write_path(
    model: nn.Module, settings: DenoisingSample, target: Path, device: torch.device
) -> list[int]:
    """Keep what some items looked like on the way from noise; says at which t.

    Only a walk through all steps has such states.
    """
    walks = isinstance(model, DenoisingGAN) or (
        isinstance(model, DDPM) and _sampler(model, settings).kind == "ancestral"
    )
    if not settings.path_states or not walks:
        return []
    assert isinstance(model, DenoisingGAN | DDPM)
    steps = model.process.steps
    times = np.unique(np.linspace(steps, 0, settings.path_states).round().astype(int))[::-1]
    generator = torch.Generator(device).manual_seed(stream_seed(settings.seed, settings.draws, 0))
    shown = PATHS_SHOWN if len(model.shape) == 3 else 1000
    start = model.states.noise(shown, generator)
    drawn = model.denoised_from(start, steps, generator, keep=times.tolist())
    states = torch.stack([model.states.items(state) for state in drawn.along])
    np.save(target / "path.npy", states.float().cpu().numpy())
    return [int(time) for time in times]


def _sampler(model: DDPM, settings: DenoisingSample) -> DDPMSampler:
    """That of the settings, or the model's own."""
    return sampler_of(settings.sampler) if settings.sampler else model.sampler
