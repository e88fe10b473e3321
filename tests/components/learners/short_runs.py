"""What the tests of learning short-run EBMs share: a quadratic energy, small ones, data."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from components.datasets.loading import Batch
from components.learners.computing import Computing
from components.learners.optimisation import Schedule
from components.learners.short_run import ShortRunLearner, ShortRunSettings
from components.models.short_run import ShortRunEBM, Start
from components.samplers.langevin import LangevinSettings
from components.samplers.replay_buffer import ReplayBuffer
from tests.components.quadratics import RoundBowl

PLAIN = {"betas": (0.9, 0.999), "weight_decay": 0.0, "clip_deviations": None, "ema": 0.0}
CPU = Computing(torch.device("cpu"))
FREE = LangevinSettings(4, 0.3, noise_scale=0.0)
POINTS = {
    "kind": "short-run-ebm",
    "shape": [2],
    "energy": {"kind": "fully-connected", "hidden": [6, 5], "normalisation": "weight"},
    "langevin": {"steps": 3, "step_size": 0.3, "noise_scale": 0.1},
    "start": {"law": "normal", "scale": 1.0},
}
IMAGES = {
    "kind": "short-run-ebm",
    "shape": [1, 8, 8],
    "energy": {"kind": "conv", "width": 4, "multipliers": [1, 2]},
    "langevin": {"steps": 3, "step_size": 0.1, "noise_scale": 0.1},
    "start": {"law": "normal", "scale": 1.0},
}


def quadratic(langevin: LangevinSettings = FREE) -> ShortRunEBM:
    return ShortRunEBM(RoundBowl(), (1,), langevin, Start())


def data(count: int, dim: int = 1, seed: int = 0) -> Batch:
    noise = torch.randn(count, dim, generator=torch.Generator().manual_seed(seed))
    return Batch(1.0 + 0.7 * noise, None)


def images(count: int, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    return Batch(torch.randint(0, 256, (count, 1, 8, 8), generator=generator).byte(), None)


def learner(
    model: nn.Module,
    replay: ReplayBuffer | None = None,
    seed: int = 0,
    rate: float = 0.01,
    optimiser: dict | None = None,
    computing: Computing = CPU,
    **changes: Any,
) -> ShortRunLearner:
    assert isinstance(model, ShortRunEBM)
    plain = {"generator_weight": 0.0, "checkpoint": False, "energy_magnitude": 0.0, "max_gap": 10.0}
    settings = ShortRunSettings(**{**plain, **changes})
    schedule, chosen = Schedule(rate, 0, "constant", 100), {**PLAIN, **(optimiser or {})}
    return ShortRunLearner(model, settings, schedule, chosen, replay, seed, computing)


def starts(model: ShortRunEBM, count: int, seed: int = 0) -> Tensor:
    """What a learner of that seed starts its first chains from."""
    return model.noise(count, torch.Generator().manual_seed(seed))
