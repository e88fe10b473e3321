"""The flow of a quadratic energy, a linear ODE that is solved in closed form."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from components.errors import UserError
from components.networks.registry import build
from components.samplers.gradient_flow import Backward, FlowError, FlowSettings, pull, push
from tests.components.quadratics import CENTRE_2D, PRECISION, PlaneBowl

SETTINGS = FlowSettings(time=0.4, tolerance=1e-6)


def points(count: int = 50) -> Tensor:
    return torch.randn(count, 2, generator=torch.Generator().manual_seed(0))


def solved(precision: Tensor, centre: Tensor, start: Tensor, time: float) -> Tensor:
    return centre + (start - centre) @ torch.linalg.matrix_exp(-time * precision)


def test_push_is_the_matrix_exponential() -> None:
    found = push(PlaneBowl(), points(), SETTINGS)
    expected = solved(PRECISION, CENTRE_2D, points(), 0.4)
    torch.testing.assert_close(found.items, expected, rtol=0.0, atol=1e-5)
    assert not found.items.requires_grad and found.nfe > 6


def test_pull_is_its_inverse_and_the_gain_is_the_trace() -> None:
    with torch.no_grad():
        found = pull(PlaneBowl(), solved(PRECISION, CENTRE_2D, points(), 0.4), SETTINGS)
    torch.testing.assert_close(found.start, points(), rtol=0.0, atol=2e-5)
    # The trace of Λ is the same everywhere.
    torch.testing.assert_close(found.gain, torch.full((50,), 0.4 * 5.0), rtol=0.0, atol=1e-5)
    assert not found.gain.requires_grad


def test_hutchinsons_gain_is_the_quadratic_form() -> None:
    """vᵀΛv = 5 + 2 v₁v₂: 7 for equal signs, 3 for opposite ones, 5 as their mean."""
    signs = torch.tensor([[1.0, 1.0], [1.0, -1.0]])[:, None].expand(2, 50, 2)
    with torch.no_grad():
        for probes, trace in ((signs[:1], 7.0), (signs[1:], 3.0), (signs, 5.0)):
            found = pull(PlaneBowl(), points(), SETTINGS, probes)
            expected = torch.full((50,), 0.4 * trace)
            torch.testing.assert_close(found.gain, expected, rtol=0.0, atol=1e-5)


@pytest.mark.parametrize("probes", [None, torch.ones(1, 50, 2)], ids=["exact", "hutchinson"])
@pytest.mark.parametrize("backward", ["direct", "adjoint"])
def test_gradients_are_those_of_the_closed_form(backward, probes) -> None:
    energy, target = PlaneBowl(), points().roll(1, 0)
    found = pull(energy, points(), SETTINGS, probes, backward)
    ((found.start * target).sum() + found.gain.sum()).backward()
    precision, centre = (p.detach().clone().requires_grad_() for p in energy.parameters())
    # x(0) of a symmetric Λ; autograd takes its two off-diagonal elements apart.
    symmetric = 0.5 * (precision + precision.T)
    start = solved(symmetric, centre, points(), -0.4)
    form = symmetric.trace() if probes is None else symmetric.sum()
    ((start * target).sum() + 50 * 0.4 * form).backward()
    expected = {"precision": precision.grad, "centre": centre.grad}
    for name, parameter in energy.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-4, atol=2e-3)


def test_a_network_flows_there_and_back() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        energy = build("fully-connected-energy", dim=2, hidden=[16, 16]).requires_grad_(False)
        energy.head.linear.weight.mul_(20.0)
    there = push(energy, points(), SETTINGS).items
    assert (there - points()).norm(dim=1).max() > 0.05
    back = pull(energy, there, SETTINGS)
    torch.testing.assert_close(back.start, points(), rtol=0.0, atol=1e-4)
    # The gain is minus the log-determinant of the Jacobian of G_T.
    slopes = [(_moved(energy, axis, 0.01) - _moved(energy, axis, -0.01)) / 0.02 for axis in (0, 1)]
    jacobian = torch.stack(slopes, dim=2)
    expected = -torch.linalg.det(jacobian).log()
    torch.testing.assert_close(back.gain, expected, rtol=0.0, atol=2e-3)
    assert expected.abs().max() > 0.05


def _moved(energy: nn.Module, axis: int, by: float) -> Tensor:
    """Where points go that begin a little to one side."""
    start = points()
    start[:, axis] += by
    return push(energy, start, SETTINGS).items


@pytest.mark.parametrize("way", [push, pull])
def test_a_broken_field_is_told(way) -> None:
    energy = PlaneBowl()
    energy.precision.data.fill_(float("nan"))
    with pytest.raises(FlowError, match="cannot be solved"):
        way(energy, points(), SETTINGS)
    with pytest.raises(FlowError, match="max_num_steps"):
        way(PlaneBowl(), points(), FlowSettings(time=40.0, tolerance=1e-6, max_steps=3))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"time": 0.0}, "time"),
        ({"tolerance": -1.0}, "tolerance"),
        ({"max_steps": 0}, "max_steps"),
        ({"equal_steps": 0}, "equal_steps"),
    ],
)
def test_settings_out_of_range(changed, said) -> None:
    with pytest.raises(UserError, match=said):
        FlowSettings(**{"time": 0.2, "tolerance": 1e-5, **changed})


@pytest.mark.parametrize("backward", ["direct", "adjoint"])
def test_equal_steps_are_of_order_four(backward: Backward) -> None:
    """Twice as many steps leave a sixteenth of the error, there and back, and of the gradient."""
    exact, errors = solved(PRECISION, CENTRE_2D, points(), 0.4), []
    for count in (2, 4):
        settings = FlowSettings(time=0.4, tolerance=1.0, equal_steps=count)
        energy = PlaneBowl().double()
        there = push(energy, points().double(), settings)
        back = pull(energy, exact.double(), settings, backward=backward)
        (slope,) = torch.autograd.grad(back.start.sum(), energy.centre)
        assert there.nfe == back.nfe == 4 * count
        expected = 50 * (torch.eye(2) - torch.linalg.matrix_exp(0.4 * PRECISION)).sum(dim=0)
        gaps = (there.items - exact, back.start - points(), (slope - expected) / 50)
        errors.append([gap.abs().max().item() for gap in gaps])
    for coarse, fine in zip(*errors, strict=True):
        assert 10.0 < coarse / fine < 32.0
