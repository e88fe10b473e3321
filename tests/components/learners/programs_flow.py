"""What two workers do for the tests of gradient flows; run as a script by each of them."""

from __future__ import annotations

import torch
from torch import Tensor

from components.datasets.loading import Batch
from components.learners.computing import Computing
from components.learners.gradient_flow import FlowLearning, GradientFlowLearner
from components.learners.optimisation import Schedule
from components.models.build import seeded
from components.models.gradient_flow import GradientFlow

WHOLE = slice(None)
HALVES = (slice(0, 4), slice(4, 8))
DRAWS = 100
OPTIMISER = {"betas": (0.9, 0.999), "weight_decay": 0.0, "clip_deviations": None, "ema": 0.9}
FLOW = {
    "kind": "gradient-flow",
    "shape": [2],
    "energy": {"kind": "fully-connected", "hidden": [6, 5]},
    "flow": {"time": 0.4, "tolerance": 1e-6},
}


def learner(how: FlowLearning, seed: int, rate: float) -> GradientFlowLearner:
    model = seeded(FLOW, seed)
    assert isinstance(model, GradientFlow)
    schedule = Schedule(rate, 0, "constant", 10)
    where = Computing(torch.device("cpu"))
    return GradientFlowLearner(model, how, schedule, OPTIMISER, seed, where)


def points(rows: slice, step: int = 0) -> Batch:
    """Eight points, of which the second half are the first half again."""
    half = torch.randn(4, 2, generator=torch.Generator().manual_seed(5 + step)) * 2.0
    return Batch(torch.cat([half, half])[rows], None)


def likelihood(seed: int, rows: slice) -> dict[str, Tensor]:
    """Three steps by maximum likelihood; they begin at the weights of worker 0."""
    taught = learner(FlowLearning("likelihood", "adjoint", 0, 50.0), seed, 0.01)
    for step in range(3):
        taught.training_step(points(rows, step), step)
    return dict(taught.exported().state_dict())


def energy(seed: int, rows: slice) -> Tensor:
    """Gradients of the EBM's objective at one point in the space of weights: draws × weights."""
    taught = learner(FlowLearning("energy", "direct", 0, 50.0), 0, 0.0)
    taught.reseed(seed)
    draws = []
    for step in range(DRAWS):
        taught.training_step(points(rows), step)
        # The last bias shifts data and samples alike.
        gradients = [p.grad for p in taught.updater.parameters[:-1]]
        draws.append(torch.cat([g.flatten() for g in gradients if g is not None]))
    return torch.stack(draws)


def broken(rank: int) -> dict[str, Tensor]:
    """Weights after a step whose points worker 1 alone cannot carry back."""
    taught = learner(FlowLearning("likelihood", "direct", 0, 50.0), 0, 0.01)
    batch = points(HALVES[rank])
    taught.training_step(Batch(batch.x * (torch.inf if rank else 1.0), None), 0)
    return dict(taught.model.state_dict())


if __name__ == "__main__":
    from two_workers import work_together

    with work_together() as (rank, kept):
        kept["likelihood"] = likelihood(rank, HALVES[rank])
        kept["energy"] = energy(rank, HALVES[rank])
        kept["broken"] = broken(rank)
