"""What two workers do for the tests of parallel learning of short-run EBMs; run by each of them.

As in `programs`, a worker takes its half of a batch, and one worker all of it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from components.datasets.loading import Batch
from components.learners.computing import Computing
from components.learners.optimisation import Schedule
from components.learners.short_run import ShortRunLearner, ShortRunSettings
from components.models.build import seeded
from components.models.short_run import ShortRunEBM
from components.samplers.replay_buffer import ReplayBuffer

WHOLE = slice(None)
HALVES = (slice(0, 4), slice(4, 8))
OPTIMISER = {"betas": (0.9, 0.999), "weight_decay": 0.0, "clip_deviations": None, "ema": 0.5}


def description(start: float, noise_scale: float) -> dict[str, Any]:
    return {
        "kind": "short-run-ebm",
        "shape": [2],
        "energy": {"kind": "fully-connected", "hidden": [6, 5], "normalisation": "weight"},
        "langevin": {"steps": 3, "step_size": 0.4, "noise_scale": noise_scale},
        "start": {"law": "normal", "scale": start},
    }


def learner(
    seed: int,
    rate: float,
    weight: float,
    buffer: ReplayBuffer | None = None,
    start: float = 1.0,
    noise_scale: float = 0.1,
    weights: int = 0,
) -> ShortRunLearner:
    model = seeded(description(start, noise_scale), weights)
    assert isinstance(model, ShortRunEBM)
    settings = ShortRunSettings(weight, True, 0.1, 50.0)
    schedule, computing = Schedule(rate, 0, "constant", 10), Computing(torch.device("cpu"))
    return ShortRunLearner(model, settings, schedule, OPTIMISER, buffer, seed, computing)


def points(rows: slice) -> Batch:
    """Eight points, of which the second half are the first half again."""
    half = torch.randn(4, 2, generator=torch.Generator().manual_seed(5)) * 2.0
    return Batch(torch.cat([half, half])[rows], None)


def learned(seed: int, rows: slice) -> dict[str, Tensor]:
    """After three steps of chains that all start at one point and are never disturbed.

    Each worker's weights are of its own seed before they are the first one's.
    """
    taught = learner(seed, 0.01, 1.0, start=1e-12, noise_scale=0.0, weights=seed)
    taught.prepare(points(rows))
    for step in range(3):
        taught.training_step(points(rows), step)
    return dict(taught.exported().state_dict())


def noisy(seed: int, rows: slice) -> dict[str, Tensor]:
    """Gradients of two steps with noise of the seed's, by the objective; no weight moves."""
    found = {}
    for objective, weight in (("likelihood", 0.0), ("generator", 1.0)):
        taught = learner(seed, 0.0, weight)
        taught.prepare(points(rows))
        for step in range(2):
            taught.training_step(points(rows), step)
            gradients = [p.grad.flatten() for p in taught.updater.parameters if p.grad is not None]
            found[f"{objective}, step {step}"] = torch.cat(gradients)
    return found


def replayed(rank: int) -> Tensor:
    """Chains that a worker's own buffer holds after three steps."""
    buffer = ReplayBuffer(16, (2,), 0.9, 0)
    taught = learner(10 + rank, 0.01, 0.0, buffer)
    for step in range(3):
        taught.training_step(points(HALVES[rank]), step)
    return buffer.state_dict()["rows"]


if __name__ == "__main__":
    from two_workers import work_together

    with work_together() as (rank, kept):
        kept["learned"] = learned(rank, HALVES[rank])
        kept["noisy"] = noisy(rank, HALVES[rank])
        kept["replayed"] = replayed(rank)
