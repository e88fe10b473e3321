"""What two workers do for the tests of parallel learning of denoising models; run by each of them.

As in `programs`, a worker takes its half of a batch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from components.datasets.loading import Batch

HALVES = (slice(0, 8), slice(8, 16))


def points(rows: slice) -> Batch:
    return Batch(torch.randn(16, 2, generator=torch.Generator().manual_seed(5))[rows], None)


def learned(learner: Any, rows: slice) -> dict[str, Tensor]:
    """The exported model after three steps."""
    for step in range(3):
        learner.training_step(points(rows), step)
    return dict(learner.exported().state_dict())


def gradients(learner: Any, rows: slice) -> dict[str, Tensor]:
    """Of both sides in a step in which no weight moves, with the worker's own noise."""
    learner.training_step(points(rows), 0)
    sides = {"generator": learner.generating, "discriminator": learner.judging}
    return {
        name: torch.cat([p.grad.flatten() for p in side.parameters]) for name, side in sides.items()
    }


if __name__ == "__main__":
    from denoising import diffusion, game, plain
    from two_workers import work_together

    with work_together() as (rank, kept):
        mine = HALVES[rank]
        # Weights of each worker's own seed, before they are the first one's.
        makers = {"game": game, "diffusion": diffusion, "plain": plain}
        kept["learned"] = {name: learned(make(rank), mine) for name, make in makers.items()}
        kept["gradients"] = gradients(game(rank, rate=0.0, weights=0), mine)
