"""The tabulated density of a VAE of points."""

from __future__ import annotations

import math

import pytest
import torch

from components.models import gridded
from components.models.gridded import GriddedDensity

# Lopsided in every way, so that an exchange of the axes shows.
WEIGHT = torch.tensor([[1.0], [-0.4]])
BIAS = torch.tensor([0.8, -0.5])


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def model(linear_gaussian):
    return linear_gaussian(WEIGHT, BIAS, 0.5)


def test_density_is_the_models_own(model):
    density = GriddedDensity(model, 5.0, 120, 100_000, seeded())
    x = model.sample(500, seeded(1))
    difference = density(x) - model.law.log_prob(x)
    # Far out few of the prior's samples weigh, and the Monte Carlo error grows.
    assert difference.abs().mean() < 0.01 and difference.abs().max() < 0.1


def test_nodes_hold_the_mixture_of_the_priors_samples(model, monkeypatch):
    """Chunks of 64 samples, the last of 8; a node's value is the mean of 200 kernels."""
    monkeypatch.setattr(gridded, "SAMPLES_AT_ONCE", 64)
    density = GriddedDensity(model, 2.0, 4, 200, seeded())
    generator = seeded()
    chunks = [torch.randn(count, 1, generator=generator) for count in (64, 64, 64, 8)]
    centres = torch.cat(chunks) @ WEIGHT.T + BIAS
    nodes = torch.cartesian_prod(*[torch.tensor([-1.5, -0.5, 0.5, 1.5])] * 2)
    kernels = torch.distributions.Normal(centres, 0.5).log_prob(nodes[:, None]).sum(2)
    expected = kernels.logsumexp(1) - math.log(200)
    torch.testing.assert_close(density(nodes), expected, rtol=0.0, atol=1e-3)


def test_between_nodes_the_logarithm_is_bilinear_and_constant_beyond(model):
    density = GriddedDensity(model, 2.0, 4, 1_000, seeded())
    corners = torch.tensor([[-0.5, 0.5], [0.5, 0.5], [-0.5, 1.5], [0.5, 1.5]])
    inside = torch.tensor([[-0.25, 1.25]])  # a quarter along x, three quarters along y
    weights = torch.tensor([0.75 * 0.25, 0.25 * 0.25, 0.75 * 0.75, 0.25 * 0.75])
    torch.testing.assert_close(density(inside)[0], (weights * density(corners)).sum())
    beyond = torch.tensor([[9.0, -0.5], [-0.5, -9.0]])
    border = torch.tensor([[1.5, -0.5], [-0.5, -1.5]])
    torch.testing.assert_close(density(beyond), density(border))


def test_no_density_is_still_finite(linear_gaussian):
    model = linear_gaussian(WEIGHT, BIAS, 1e-3)
    far = GriddedDensity(model, 50.0, 8, 10, seeded())(torch.tensor([[-40.0, 40.0]]))
    assert -700.0 < far.item() < -600.0
