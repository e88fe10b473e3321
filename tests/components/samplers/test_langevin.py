"""Chains against laws that are known in closed form."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from components.samplers.langevin import LangevinSettings, langevin
from tests.components.samplers.chains import (
    CHAINS,
    discrete_variance,
    gaussian_energy,
    normal,
    seeded,
)


@pytest.mark.parametrize("steps", [1, 4, 60])
@pytest.mark.parametrize(("temperature", "noise_scale"), [(1.0, 1.0), (0.5, 1.0), (2.0, 0.3)])
def test_unadjusted_chain_has_the_law_of_its_recursion(steps, temperature, noise_scale):
    settings = LangevinSettings(steps, 0.4, noise_scale=noise_scale, temperature=temperature)
    chain = langevin(gaussian_energy(0.7), normal(CHAINS, 1), settings, seeded())
    scale = math.sqrt(temperature) * noise_scale
    assert chain.state.var().item() == pytest.approx(
        discrete_variance(0.7, 0.4, scale, steps), rel=0.02
    )


def test_noise_free_descent_is_a_contraction():
    x = normal(10, 3)
    chain = langevin(gaussian_energy(1.0), x, LangevinSettings(5, 0.2, noise_scale=0.0), seeded())
    torch.testing.assert_close(chain.state, x * 0.9**5)


def test_annealed_step_sizes_are_used_in_turn():
    x = normal(10, 3)
    settings = LangevinSettings(3, 1.0, temperature=0.0)
    chain = langevin(gaussian_energy(1.0), x, settings, seeded(), step_sizes=[0.4, 0.2, 1.0])
    torch.testing.assert_close(chain.state, x * (0.8 * 0.9 * 0.5))


def test_metropolis_is_exact_where_the_unadjusted_chain_is_biased():
    start = normal(CHAINS, 1)
    plain = langevin(gaussian_energy(1.0), start, LangevinSettings(40, 1.5), seeded())
    settings = LangevinSettings(40, 1.5, metropolis=True)
    adjusted = langevin(gaussian_energy(1.0), start * 0.5, settings, seeded())
    assert plain.state.var().item() == pytest.approx(1.6, rel=0.02)
    assert adjusted.state.var().item() == pytest.approx(1.0, rel=0.02)
    assert 0.5 < adjusted.acceptance_rate.mean() < 0.99


@pytest.mark.parametrize(("temperature", "noise_scale"), [(1.0, 1.0), (2.0, 0.5)])
def test_metropolis_targets_the_tempered_law_of_a_quartic(temperature, noise_scale):
    """For exp(−x⁴/(4τ)), E x² = 2√τ Γ(3/4)/Γ(1/4)."""
    settings = LangevinSettings(60, 0.5, noise_scale, temperature, metropolis=True)
    chain = langevin(
        lambda x: x.pow(4).sum(1) / 4.0, normal(CHAINS // 4, 3) * 0.5, settings, seeded()
    )
    tau = temperature * noise_scale**2
    expected = 2.0 * math.sqrt(tau) * math.gamma(0.75) / math.gamma(0.25)
    assert chain.state.square().mean().item() == pytest.approx(expected, rel=0.02)


def test_metropolis_respects_a_wall():
    """For exp(−x^1.5) on x > 0, E x = Γ(4/3)/Γ(2/3); past the wall the gradient is nan."""

    def energy(x: Tensor) -> Tensor:
        return torch.where(x > 0.0, x.pow(1.5), math.inf).squeeze(1)

    settings = LangevinSettings(60, 0.5, metropolis=True)
    chain = langevin(energy, normal(CHAINS, 1).abs() * 0.3, settings, seeded())
    assert chain.state.min() > 0.0
    expected = math.gamma(4.0 / 3.0) / math.gamma(2.0 / 3.0)
    assert chain.state.mean().item() == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("metropolis", [False, True])
def test_tilted_gaussian_in_noise_space(metropolis):
    """Section 4.3.3 where all is known: base x = 1 + 2ε, energy f(x) = λ(x − m)²/2.

    The tilted law p(x) ∝ N(x; 1, 4) exp(−f(x)) is Gaussian, of precision 1/4 + λ.
    """
    strength, m = 0.5, -2.0

    def energy(noise: Tensor) -> Tensor:
        x = 1.0 + 2.0 * noise
        return (noise.square() / 2.0 + strength * (x - m).square() / 2.0).squeeze(1)

    settings = LangevinSettings(100, 0.05, metropolis=metropolis)
    x = 1.0 + 2.0 * langevin(energy, normal(CHAINS // 2, 1), settings, seeded()).state
    precision = 1.0 / 4.0 + strength
    # Without adjustment the variance in ε, 1/3, is too large by the factor 1/(1 − 3η/4).
    bias = 1.0 if metropolis else 1.0 / (1.0 - 3.0 * 0.05 / 4.0)
    assert x.mean().item() == pytest.approx((1.0 / 4.0 + strength * m) / precision, abs=0.03)
    assert x.var().item() == pytest.approx(bias / precision, rel=0.03)


@pytest.mark.parametrize("metropolis", [False, True])
def test_tuple_states_move_jointly(metropolis):
    """U = ½vᵀAv over v = (x, z): covariance (A − ηA²/4)⁻¹ unadjusted, A⁻¹ adjusted."""
    precision = torch.tensor([[1.0, 0.5, 0.2], [0.5, 1.5, -0.3], [0.2, -0.3, 0.8]])

    def energy(state: tuple[Tensor, Tensor]) -> Tensor:
        v = torch.cat([state[0].flatten(1), state[1]], dim=1)
        return (v @ precision * v).sum(1) / 2.0

    start = (normal(CHAINS, 2, 1), normal(CHAINS, 1, seed=2))
    settings = LangevinSettings(40, 0.6, metropolis=metropolis)
    chain = langevin(energy, start, settings, seeded(), keep=[0])
    x, z = chain.state
    assert x.shape == (CHAINS, 2, 1) and z.shape == (CHAINS, 1)
    torch.testing.assert_close(chain.kept[0], start)
    bias = torch.zeros(3, 3) if metropolis else 0.15 * precision @ precision
    torch.testing.assert_close(
        torch.cat([x.flatten(1), z], dim=1).T.cov(),
        torch.linalg.inv(precision - bias),
        rtol=0.03,
        atol=0.02,
    )
