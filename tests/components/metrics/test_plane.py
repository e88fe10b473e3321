"""A lopsided Gaussian on the plane."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from components.metrics import plane
from components.metrics.plane import BoxDensity, density_map

SCALES = torch.tensor([0.5, 1.0])
CENTRE = torch.tensor([0.4, -0.8])
LAW = torch.distributions.Independent(torch.distributions.Normal(CENTRE, SCALES), 1)


def unnormalised(x: Tensor) -> Tensor:
    return LAW.log_prob(x) + 3.7


def test_an_energy_becomes_a_density_of_the_box() -> None:
    density, x = BoxDensity(unnormalised, 8.0, 200), LAW.sample((50,))
    torch.testing.assert_close(density(x), LAW.log_prob(x), rtol=0.0, atol=1e-4)
    assert density.integral.log_z == pytest.approx(3.7, abs=1e-4)
    outside = torch.tensor([[8.1, 0.0], [0.0, -8.1], [7.9, 7.9]])
    assert density(outside).isinf().tolist() == [True, True, False]


def test_a_flat_energy_is_the_uniform_density() -> None:
    """Which no box holds: the mass beyond cannot be estimated."""
    density = BoxDensity(lambda x: torch.zeros(len(x)), 3.0, 30)
    assert density(torch.zeros(1, 2)).item() == pytest.approx(-math.log(36.0))
    assert density.integral.error == math.inf


def test_the_map_has_y_upwards_and_x_to_the_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plane, "ROWS", 7)
    found = density_map(LAW.log_prob, 2.0, 4)
    side = [-1.5, -0.5, 0.5, 1.5]
    expected = [[LAW.log_prob(torch.tensor([x, y])).item() for x in side] for y in side]
    assert found.dtype == torch.float64
    torch.testing.assert_close(
        found, torch.tensor(expected, dtype=torch.float64), rtol=1e-5, atol=0
    )


def test_a_map_sums_to_one() -> None:
    found = density_map(LAW.log_prob, 6.0, 120)
    assert found.exp().sum().item() * 0.1**2 == pytest.approx(1.0, abs=1e-5)


def test_points_of_the_box_are_points_of_the_density() -> None:
    density = BoxDensity(unnormalised, 6.0, 200)
    x = density.sample(20_000, 300, torch.Generator().manual_seed(0))
    assert x.shape == (20_000, 2) and x.dtype == torch.float32
    torch.testing.assert_close(x.mean(dim=0), CENTRE, rtol=0.0, atol=0.03)
    torch.testing.assert_close(x.std(dim=0), SCALES, rtol=0.0, atol=0.03)
    whole = BoxDensity(lambda x: torch.zeros(len(x)), 3.0, 30)
    even = whole.sample(20_000, 1, torch.Generator().manual_seed(0))
    assert even.abs().max() <= 3.0 and even.std().item() == pytest.approx(3.0**0.5, abs=0.03)
