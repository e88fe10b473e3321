"""Small learners of denoising models, for the tests."""

from __future__ import annotations

from typing import Any, cast

import torch

from components.datasets.loading import Batch
from components.learners.computing import Computing
from components.learners.ddpm import DDPMLearner
from components.learners.denoising_gan import AdversarialSettings, DenoisingGANLearner
from components.learners.optimisation import Optimisation, Schedule
from components.learners.plain_gan import PlainGANLearner, PlainSettings
from components.models.build import seeded
from components.models.build_diffusion import build_discriminator
from components.models.ddpm import DDPM
from components.models.denoising_gan import DenoisingGAN
from components.models.plain_gan import PlainGAN

POINTS = {"kind": "points", "hidden": [64, 64]}
RESIDUAL = {"kind": "residual", "width": 4, "multipliers": [2], "down": [True], "embedding": 8}
UNET = {"kind": "unet", "width": 4, "multipliers": [1, 2], "blocks": 1, "embedding": 8}


def optimisation(rate: float, ema: float = 0.9) -> Optimisation:
    arguments: dict[str, Any] = {"betas": (0.5, 0.9), "weight_decay": 0.0}
    return Optimisation(
        Schedule(rate, 0, "constant", 100), {**arguments, "clip_deviations": None, "ema": ema}
    )


def seeded_discriminator(network: Any, shape: tuple[int, ...], steps: int, pair: bool) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return build_discriminator(network, shape, steps, pair)


def game(
    seed: int = 0,
    images: bool = False,
    steps: int = 4,
    rate: float = 1e-3,
    gamma: float = 0.1,
    r1_every: int = 1,
    augmentation: int = 0,
    together: bool = False,
    predicts: str = "clean",
    weights: int | None = None,
    **computing: Any,
) -> DenoisingGANLearner:
    shape = (1, 8, 8) if images else (2,)
    description = {
        "kind": "denoising-gan",
        "shape": list(shape),
        "network": UNET if images else POINTS,
        "diffusion": {"steps": steps},
        "predicts": predicts,
        "latent": 2,
        "scale": 1.0,
    }
    made = cast(DenoisingGAN, seeded(description, seed if weights is None else weights))
    pair = not augmentation
    return DenoisingGANLearner(
        made,
        seeded_discriminator(RESIDUAL if images else POINTS, shape, steps, pair),
        AdversarialSettings(gamma, r1_every, augmentation, together, together),
        optimisation(rate),
        optimisation(rate, 0.0),
        seed,
        Computing(torch.device("cpu"), **computing),
    )


def diffusion(seed: int = 0, steps: int = 10, rate: float = 1e-3) -> DDPMLearner:
    description = {
        "kind": "ddpm",
        "shape": [2],
        "network": POINTS,
        "diffusion": {"steps": steps},
        "sampler": {"kind": "ancestral"},
        "scale": 1.0,
    }
    model = cast(DDPM, seeded(description, seed))
    return DDPMLearner(model, optimisation(rate), seed, Computing(torch.device("cpu")))


def plain(
    seed: int = 0, objective: Any = "non-saturating", compile: bool = False, **settings: Any
) -> PlainGANLearner:
    description = {"kind": "gan", "shape": [2], "network": POINTS, "latent": 2, "scale": 1.0}
    return PlainGANLearner(
        cast(PlainGAN, seeded(description, seed)),
        seeded_discriminator(POINTS, (2,), 0, False),
        PlainSettings(objective, **settings),
        optimisation(1e-3),
        optimisation(1e-3, 0.0),
        seed,
        Computing(torch.device("cpu"), compile=compile),
    )


def points(count: int = 16, seed: int = 3) -> Batch:
    return Batch(torch.randn(count, 2, generator=torch.Generator().manual_seed(seed)), None)


def pictures(count: int = 8, seed: int = 3) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    return Batch(torch.randint(256, (count, 1, 8, 8), generator=generator).to(torch.uint8), None)
