"""The gradient flow of a quadratic energy: a Gaussian that is known."""

from __future__ import annotations

import copy
from typing import cast

import pytest
import torch
from torch import Tensor

from components.errors import UserError
from components.metrics.likelihood import log_partition_on_grid
from components.models.build import seeded
from components.models.gradient_flow import GradientFlow
from components.samplers.gradient_flow import FlowSettings
from tests.components.quadratics import CENTRE_2D, PRECISION, PlaneBowl

SETTINGS = FlowSettings(time=0.3, tolerance=1e-6)
NETWORK = {
    "kind": "gradient-flow",
    "shape": [2],
    "energy": {"kind": "fully-connected", "hidden": [12, 12], "normalisation": "weight"},
    "flow": {"time": 0.2, "tolerance": 1e-5},
}


def law(time: float) -> torch.distributions.MultivariateNormal:
    """N(m - Em, EE) with E = exp(-ΛT), of x(T) = m + E (x₀ - m)."""
    shrink = torch.linalg.matrix_exp(-time * PRECISION)
    return torch.distributions.MultivariateNormal(CENTRE_2D - shrink @ CENTRE_2D, shrink @ shrink)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def model() -> GradientFlow:
    return GradientFlow(PlaneBowl(), [2], SETTINGS)


@pytest.fixture
def network() -> GradientFlow:
    made = cast(GradientFlow, seeded(NETWORK, 0))
    with torch.no_grad():  # a fresh energy is all but flat
        for name, parameter in made.energy.head.named_parameters():
            if name.endswith("original0"):
                parameter.mul_(30.0)
    return made


def test_samples_have_the_laws_mean_and_covariance(model: GradientFlow) -> None:
    for time, settings in ((0.3, None), (0.8, FlowSettings(time=0.8, tolerance=1e-6))):
        x = model.sample(40_000, generator(), settings)
        torch.testing.assert_close(x.mean(0), law(time).mean, rtol=0.0, atol=0.015)
        torch.testing.assert_close(x.T.cov(), law(time).covariance_matrix, rtol=0.03, atol=0.01)


def test_log_prob_is_the_laws(model: GradientFlow) -> None:
    x = 1.5 * torch.randn(60, 2, generator=generator())
    found = model.log_prob(x)
    torch.testing.assert_close(found, law(0.3).log_prob(x), rtol=1e-4, atol=1e-4)
    assert not found.requires_grad


def test_hutchinsons_estimate_has_the_exact_mean(model: GradientFlow) -> None:
    """One probe a row is 0.3 (5 ± 2) nats of gain: deviation 0.6, over 20,000 rows."""
    x = torch.tensor([[0.2, -0.3]]).expand(20_000, 2)
    found = model.log_prob(x, probes=1, generator=generator())
    expected = law(0.3).log_prob(x[:1]).item()
    assert found.std().item() == pytest.approx(0.6, rel=0.01)
    assert found.mean().item() == pytest.approx(expected, abs=4 * 0.6 / 20_000**0.5)
    several = model.log_prob(x[:4000], probes=4, generator=generator())
    assert several.std().item() == pytest.approx(0.3, rel=0.06)


def test_probes_need_a_generator(model: GradientFlow) -> None:
    with pytest.raises(UserError, match="generator"):
        model.log_prob(torch.zeros(1, 2), probes=1)


def test_a_networks_density_integrates_to_one(network: GradientFlow) -> None:
    corner = torch.full((2,), 7.0)
    found = log_partition_on_grid(network.log_prob, -corner, corner, 60)
    assert found.log_z == pytest.approx(0.0, abs=2e-3)
    # And is not the standard normal one that it starts from.
    x = torch.randn(200, 2, generator=generator())
    normal = torch.distributions.Normal(0.0, 1.0).log_prob(x).sum(dim=1)
    assert (network.log_prob(x) - normal).abs().max() > 0.05


def test_a_networks_samples_are_where_its_density_says(network: GradientFlow) -> None:
    """The mean of log p over samples is the integral of p log p."""
    corner = torch.full((2,), 7.0)
    log_prob = network.log_prob(network.sample(10_000, generator()))

    def weighted(x: Tensor) -> Tensor:
        log_p = network.log_prob(x)
        return log_p + (-log_p.clamp(max=-1e-6)).log()

    entropy = torch.tensor(log_partition_on_grid(weighted, -corner, corner, 60).log_z).exp().item()
    error = log_prob.std().item() / 100
    assert log_prob.mean().item() == pytest.approx(-entropy, abs=4 * error + 2e-3)


def test_the_energys_own_density_is_another_one(model: GradientFlow) -> None:
    corner = torch.full((2,), 7.0)
    log_z = log_partition_on_grid(model.log_unnormalised, -corner, corner, 80).log_z
    x = torch.randn(20, 2, generator=generator())
    own = torch.distributions.MultivariateNormal(CENTRE_2D, precision_matrix=PRECISION)
    torch.testing.assert_close(
        model.log_unnormalised(x) - log_z, own.log_prob(x), rtol=0.0, atol=1e-4
    )


def test_sampling_and_judging_leave_the_network_as_it_is(network: GradientFlow) -> None:
    before = copy.deepcopy(network.state_dict())
    x = network.sample(8, generator())
    network.log_prob(x)
    network.log_prob(x, probes=2, generator=generator())
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert all(p.grad is None and p.requires_grad for p in network.energy.parameters())


def test_images_flow_too() -> None:
    energy = {"kind": "strided", "filters": [2, 3]}
    model = cast(GradientFlow, seeded({**NETWORK, "shape": [1, 8, 8], "energy": energy}, 0))
    x = model.sample(3, generator())
    assert x.shape == (3, 1, 8, 8)
    exact = model.log_prob(x)
    draws = torch.stack([model.log_prob(x, 8, generator(seed)) for seed in range(12)])
    error = (draws.std(dim=0) / 12**0.5).clamp_min(1e-4)
    assert ((draws.mean(dim=0) - exact).abs() < 5 * error).all()
