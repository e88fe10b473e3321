"""Learning a gradient flow by both objectives."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from components.datasets.loading import Batch
from components.errors import UserError
from components.learners.computing import Computing
from components.learners.gradient_flow import FlowLearning, GradientFlowLearner
from components.learners.optimisation import Schedule
from components.models.build import seeded
from components.models.gradient_flow import GradientFlow
from components.samplers.gradient_flow import FlowSettings

SETTINGS = FlowSettings(time=0.5, tolerance=1e-6)
NETWORK = {
    "kind": "gradient-flow",
    "shape": [2],
    "energy": {"kind": "fully-connected", "hidden": [16, 16]},
    "flow": {"time": 0.5, "tolerance": 1e-4},
}
WAYS = [
    FlowLearning("energy", "direct", 0, 50.0),
    FlowLearning("likelihood", "direct", 0, 50.0),
    FlowLearning("likelihood", "adjoint", 0, 50.0),
    FlowLearning("likelihood", "direct", 2, 50.0),
    FlowLearning("energy", "direct", 0, 50.0, gamma=0.1),
]
NAMES = ["energy", "direct", "adjoint", "probes", "penalty"]
ROUNDED = FlowLearning("likelihood", "direct", 0, 50.0, equal_steps=3)


class Bowl(nn.Module):
    """f(x) = ½ κ |x|²; the flow's law is N(0, exp(-2κT) I)."""

    def __init__(self, kappa: float = 0.8) -> None:
        super().__init__()
        self.kappa = nn.Parameter(torch.tensor(kappa))

    def forward(self, x: Tensor) -> Tensor:
        return 0.5 * self.kappa * x.square().sum(dim=1)


def learner(
    energy: nn.Module | None,
    how: FlowLearning,
    seed: int = 0,
    rate: float = 0.01,
    **computing: Any,
) -> GradientFlowLearner:
    model = (
        cast(GradientFlow, seeded(NETWORK, seed))
        if energy is None
        else GradientFlow(energy, [2], SETTINGS)
    )
    optimiser = {"betas": (0.9, 0.999), "weight_decay": 0.0, "clip_deviations": None, "ema": 0.9}
    schedule = Schedule(rate, 0, "constant", 100)
    where = Computing(torch.device("cpu"), **computing)
    return GradientFlowLearner(model, how, schedule, optimiser, seed, where)


def points(scale: float = 1.0, count: int = 40, seed: int = 3) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    return Batch(scale * torch.randn(count, 2, generator=generator), None)


@pytest.mark.parametrize("how", WAYS[1:3], ids=NAMES[1:3])
def test_the_likelihoods_gradient_is_that_of_the_closed_form(how: FlowLearning) -> None:
    """-log p(x) = log 2π - 2κT + ½ |x|² exp(2κT) and its derivative by κ."""
    energy, batch = Bowl(), points()
    metrics = learner(energy, how, rate=0.0).training_step(batch, 0)
    growth = math.exp(2 * 0.8 * 0.5)
    square = batch.x.square().sum(dim=1).mean().item()
    expected = math.log(2 * math.pi) - 2 * 0.8 * 0.5 + 0.5 * square * growth
    assert metrics["nll"].item() == pytest.approx(expected, rel=1e-4)
    assert energy.kappa.grad is not None
    slope = -2 * 0.5 + 0.5 * square * 2 * 0.5 * growth
    assert energy.kappa.grad.item() == pytest.approx(slope, rel=1e-3)
    assert metrics["gradient_norm"].item() == pytest.approx(abs(slope), rel=1e-3)


def test_a_likelihood_that_has_run_away_is_told() -> None:
    taught = learner(Bowl(), replace(WAYS[1], max_nll=10.0))
    assert taught.diverged({"nll": 9.0}) is None
    assert taught.diverged({"nll": 28.8}) == "nll 28.8 beyond 10 nats"


def test_hutchinsons_trace_of_a_bowl_is_exact() -> None:
    energy, other = Bowl(), Bowl()
    learner(energy, WAYS[1], rate=0.0).training_step(points(), 0)
    learner(other, WAYS[3], rate=0.0).training_step(points(), 0)
    torch.testing.assert_close(energy.kappa.grad, other.kappa.grad, rtol=1e-4, atol=1e-5)


def test_the_energys_gradient_takes_samples_as_constants() -> None:
    """½ (mean |x|² of data - mean |x|² of samples), without the samples' own dependence on κ."""
    energy, batch = Bowl(), points(1.7)
    taught = learner(energy, WAYS[0], rate=0.0)
    metrics = taught.training_step(batch, 0)
    noise = torch.randn(40, 2, generator=torch.Generator().manual_seed(0))
    samples = noise * math.exp(-0.8 * 0.5)
    squares = [x.square().sum(dim=1).mean().item() for x in (batch.x, samples)]
    assert energy.kappa.grad is not None
    assert energy.kappa.grad.item() == pytest.approx(0.5 * (squares[0] - squares[1]), rel=1e-4)
    assert metrics["energy_gap"].item() == pytest.approx(0.4 * (squares[1] - squares[0]), rel=1e-4)
    assert metrics["energy_data"].item() == pytest.approx(0.4 * squares[0], rel=1e-4)
    assert metrics["loss"].item() == pytest.approx(-metrics["energy_gap"].item())
    assert taught.diverged({"energy_gap": 49.0}) is None
    assert "beyond 50" in str(taught.diverged({"energy_gap": -51.0}))


def test_steepness_between_data_and_samples_is_penalised() -> None:
    """γ/2 κ² mean |x|² of data and points on the lines; its derivative by κ joins Eq. 5.1's."""
    gamma, plain, energy, batch = 0.3, Bowl(), Bowl(), points(1.7)
    without = learner(plain, WAYS[0], rate=0.0).training_step(batch, 0)
    metrics = learner(energy, replace(WAYS[0], gamma=gamma), rate=0.0).training_step(batch, 0)
    generator = torch.Generator().manual_seed(0)
    samples = torch.randn(40, 2, generator=generator) * math.exp(-0.8 * 0.5)
    shares = torch.rand(40, 1, generator=generator)
    seen = torch.cat([batch.x, batch.x + shares * (samples - batch.x)])
    square = seen.square().sum(dim=1).mean().item()
    assert "slope" not in without
    assert metrics["slope"].item() == pytest.approx(0.8**2 * square, rel=1e-4)
    assert metrics["loss"].item() == pytest.approx(without["loss"].item())
    assert energy.kappa.grad is not None and plain.kappa.grad is not None
    added = energy.kappa.grad.item() - plain.kappa.grad.item()
    assert added == pytest.approx(gamma * 0.8 * square, rel=1e-3)


@pytest.mark.parametrize("objective", ["energy", "likelihood"])
def test_both_objectives_find_the_bowl_of_the_data(objective: Any) -> None:
    """Both are at rest where the samples' variance is the data's: κ = -log(0.6) / T."""
    energy = Bowl(0.2)
    taught = learner(energy, FlowLearning(objective, "direct", 0, 50.0, 1e-3), rate=0.03)
    for step in range(60):
        taught.training_step(points(0.6, 400, seed=step), step)
    exported = cast(GradientFlow, taught.exported()).energy
    assert exported.kappa.item() == pytest.approx(-math.log(0.6) / 0.5, abs=0.06)
    assert not exported.kappa.requires_grad and exported is not energy


@pytest.mark.parametrize("how", WAYS, ids=NAMES)
def test_a_stopped_training_goes_on_as_if_it_had_not(assert_resumable, how: FlowLearning) -> None:
    batches = [points(seed=seed, count=8) for seed in range(4)]
    assert_resumable(lambda seed: learner(None, how, seed), batches, 2, prepare=False)


@pytest.mark.parametrize("how", WAYS[1:3], ids=NAMES[1:3])
def test_parts_of_a_batch_make_the_same_update(how: FlowLearning) -> None:
    whole, parts = learner(None, how), learner(None, how, parts=2)
    for taught in (whole, parts):
        metrics = taught.training_step(points(count=8), 0)
        assert metrics["nfe"].item() >= 7
    gradients = [[p.grad for p in each.updater.parameters] for each in (whole, parts)]
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("how", WAYS[:3], ids=NAMES[:3])
def test_a_flow_that_cannot_be_solved_is_a_loss_that_is_not_finite(how: FlowLearning) -> None:
    taught = learner(Bowl(math.inf), how)
    metrics = {name: value.item() for name, value in taught.training_step(points(), 0).items()}
    assert "not finite" in str(taught.diverged(metrics))
    assert all(p.grad is not None for p in taught.updater.parameters)


@pytest.mark.parametrize("objective", ["energy", "likelihood"])
def test_training_may_be_solved_more_coarsely(objective: Any) -> None:
    """With fewer evaluations and almost the same gradient; the exported model keeps its own."""
    found = []
    for changed in ({}, {"tolerance": 1e-2}, {"equal_steps": 4}):
        energy = Bowl(6.0)
        how = FlowLearning(objective, "direct", 0, 50.0, **changed)
        taught = learner(energy, how, rate=0.0)
        metrics = taught.training_step(points(), 0)
        found.append((metrics["nfe"].item(), energy.kappa.grad))
        assert cast(GradientFlow, taught.exported()).settings == SETTINGS
    (most, gradient), *coarser = found
    for nfe, other in coarser:
        assert nfe < most
        torch.testing.assert_close(other, gradient, rtol=0.05, atol=0.02)
    assert coarser[1][0] == 16


def test_settings_that_cannot_be() -> None:
    with pytest.raises(UserError, match="objective is energy or likelihood, not both"):
        FlowLearning("both", "direct", 0, 1.0)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="adjoint or direct"):
        FlowLearning("energy", "forward", 0, 1.0)  # type: ignore[arg-type]
    for probes, gap in ((-1, 1.0), (0, 0.0)):
        with pytest.raises(UserError, match="probes"):
            FlowLearning("energy", "direct", probes, gap)
    with pytest.raises(UserError, match="tolerance must be positive"):
        FlowLearning("energy", "direct", 0, 1.0, 0.0)
    with pytest.raises(UserError, match="equal_steps must be 1 or more, not 0"):
        FlowLearning("energy", "direct", 0, 1.0, equal_steps=0)
    with pytest.raises(UserError, match="gamma must be 0 or more, not -1"):
        FlowLearning("energy", "direct", 0, 1.0, gamma=-1.0)
    in_steps = [replace(WAYS[0], equal_steps=3), replace(WAYS[3], equal_steps=3)]
    for how in (*WAYS, *in_steps):
        with pytest.raises(UserError, match="float32, not in bfloat16"):
            learner(None, how, precision="bfloat16")
    with pytest.raises(UserError, match="float32, not in bfloat16"):
        learner(Bowl(), ROUNDED, precision="bfloat16")
    with pytest.raises(UserError, match="float32, not in float16"):
        learner(None, ROUNDED, precision="float16")


@pytest.mark.parametrize("backward", ["direct", "adjoint"])
def test_products_in_bfloat16_leave_the_likelihoods_gradient_what_it_is(backward: Any) -> None:
    """Within their rounding, 2⁻⁸, and not to the bit: the setting is heard."""
    batch, found = points(), []
    for precision in ("float32", "bfloat16"):
        taught = learner(None, replace(ROUNDED, backward=backward), rate=0.0, precision=precision)
        taught.training_step(batch, 0)
        parameters = taught.model.energy.parameters()
        found.append(torch.cat([p.grad.flatten() for p in parameters if p.grad is not None]))
    error = (found[1] - found[0]).norm() / found[0].norm()
    assert found[1].dtype == torch.float32
    assert 0.0 < error < 2.0**-8
