"""Denoising models from plain descriptions (see `components.models.build`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from components.errors import UserError
from components.models.ddpm import DDPM, DDPMSampler
from components.models.denoising_gan import DenoisingGAN
from components.models.plain_gan import PlainGAN
from components.networks.registry import build as build_network
from components.samplers.diffusion import DiffusionProcess, DiffusionSettings

Description = Mapping[str, Any]


def build_denoising_gan(description: Description) -> DenoisingGAN:
    """Make one from ``shape``, ``network``, ``diffusion``, ``predicts``, ``latent`` and ``scale``.

    The network is ``{kind: points, hidden}`` or ``{kind: unet, width, ...}``; ``diffusion`` are the
    settings of `DiffusionSettings`.
    """
    shape, process = tuple(description["shape"]), _process(description)
    latent = description["latent"]
    network = _generator(description["network"], shape, latent, process.steps)
    return DenoisingGAN(
        network, shape, process, description["predicts"], latent, description["scale"]
    )


def build_ddpm(description: Description) -> DDPM:
    """Make one from ``shape``, ``network``, ``diffusion``, ``sampler`` and ``scale``."""
    shape, process = tuple(description["shape"]), _process(description)
    network = _generator(description["network"], shape, 0, process.steps)
    sampler = DDPMSampler(**description["sampler"])
    return DDPM(network, shape, process, sampler, description["scale"])


def build_gan(description: Description) -> PlainGAN:
    """Make one from ``shape``, ``network``, ``latent`` and ``scale``; of points alone.

    Raises:
        UserError: a network of images.
    """
    if description["network"]["kind"] != "points":
        raise UserError("a plain gan is one of points: of images take a denoising-gan of 1 step")
    shape, latent = tuple(description["shape"]), description["latent"]
    return PlainGAN(
        _generator(description["network"], shape, latent, 0), shape, latent, description["scale"]
    )


def build_discriminator(
    description: Description, shape: Sequence[int], steps: int, conditional: bool = True
) -> nn.Module:
    """Make a discriminator of items of a shape from ``kind`` (points or residual) and its settings.

    Args:
        description: of the network.
        shape: of an item.
        steps: T; 0 for one that sees neither time nor x_{t+1}.
        conditional: whether x_{t+1} is seen beside x_t.
    """
    settings = dict(description)
    if settings.pop("kind") == "points":
        return build_network(
            "points-discriminator", dim=shape[0], steps=steps if conditional else 0, **settings
        )
    sides = {"channels": shape[0], "size": shape[1]}
    made = build_network("diffusion-discriminator", conditional=conditional, **sides, **settings)
    # As all convolutions, see `components.models.build`.
    return made.to(memory_format=torch.channels_last)


def _process(description: Description) -> DiffusionProcess:
    return DiffusionProcess(DiffusionSettings(**description["diffusion"]))


def _generator(
    description: Description, shape: Sequence[int], latent: int, steps: int
) -> nn.Module:
    settings = dict(description)
    kind = settings.pop("kind")
    if kind == "points":
        if len(shape) != 1:
            raise UserError(f"a network of kind points makes no items of shape {tuple(shape)}")
        return build_network(
            "points-generator", dim=shape[0], latent=latent, steps=steps, **settings
        )
    if kind != "unet" or len(shape) != 3 or shape[1] != shape[2]:
        raise UserError(f"no network of kind {kind} makes items of shape {tuple(shape)}")
    return build_network("unet", channels=shape[0], size=shape[1], latent=latent, **settings)
