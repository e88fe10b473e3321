"""Truncated drifts and step sizes that vary: laws kept, and reached from afar."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from components.errors import UserError
from components.samplers.langevin import LangevinSettings, langevin
from tests.components.samplers.chains import (
    CHAINS,
    gaussian_energy,
    normal,
    seeded,
)


def test_truncated_drift_and_varied_steps_keep_a_gaussian_exact():
    """Half of the drifts are cut, and some steps are far too long for an unadjusted chain."""
    settings = LangevinSettings(60, 0.1, metropolis=True, step_size_max=6.0, drift_limit=0.3)
    chain = langevin(gaussian_energy(1.0), normal(CHAINS // 2, 1) * 0.3, settings, seeded())
    assert chain.state.var().item() == pytest.approx(1.0, rel=0.025)
    assert chain.state.mean().item() == pytest.approx(0.0, abs=0.02)
    assert chain.state.pow(4).mean().item() == pytest.approx(3.0, rel=0.06)


@pytest.mark.parametrize(("temperature", "noise_scale"), [(1.0, 1.0), (2.0, 0.5)])
def test_truncated_drift_and_varied_steps_reach_a_stiff_law_from_afar(temperature, noise_scale):
    """A Gaussian of deviations 1 and 0.1, turned by 45°, from starts 10 deviations out."""
    turn = torch.tensor([[1.0, 1.0], [-1.0, 1.0]]) / math.sqrt(2.0)
    variances = torch.tensor([1.0, 0.01])

    def energy(x: Tensor) -> Tensor:
        return ((x @ turn).square() / variances).sum(1) / 2.0

    settings = LangevinSettings(
        250,
        0.005,
        noise_scale,
        temperature,
        metropolis=True,
        step_size_max=0.5,
        drift_limit=1.0,
    )
    chain = langevin(energy, normal(4_000, 2), settings, seeded())
    tau = temperature * noise_scale**2
    covariance = (chain.state @ turn).T.cov() / tau
    torch.testing.assert_close(covariance.diag(), variances, rtol=0.08, atol=0.0)
    assert covariance[0, 1].abs() < 0.01


def test_truncated_drift_and_varied_steps_keep_a_bent_law():
    """x ~ N(0, 1), y | x ~ N(x², 0.3²), started at the law itself: each move must keep it."""

    def energy(v: Tensor) -> Tensor:
        x, y = v.T
        return 0.5 * x.square() + 0.5 * ((y - x.square()) / 0.3).square()

    noise = normal(40_000, 2)
    start = torch.stack([noise[:, 0], noise[:, 0].square() + 0.3 * noise[:, 1]], dim=1)
    settings = LangevinSettings(80, 0.02, metropolis=True, step_size_max=1.0, drift_limit=0.7)
    chain = langevin(energy, start, settings, seeded())
    x, y = chain.state.T
    across = y - x.square()
    assert 0.2 < chain.acceptance_rate.mean() < 0.8
    found = torch.stack([x.mean(), x.var(), y.mean(), across.mean(), across.var() / 0.09])
    expected = torch.tensor([0.0, 1.0, 1.0, 0.0, 1.0])
    torch.testing.assert_close(found, expected, rtol=0.0, atol=0.04)


def test_truncation_frees_chains_that_a_steep_energy_holds():
    """From |x| = 20 in x⁴/4 the full drift jumps hundreds beyond, and is refused for ever."""

    def run(limit: float | None) -> tuple[float, float]:
        settings = LangevinSettings(200, 0.3, metropolis=True, drift_limit=limit)
        chain = langevin(
            lambda x: x.pow(4).sum(1) / 4.0, torch.full((2_000, 1), 20.0), settings, seeded()
        )
        return chain.state.square().mean().item(), chain.acceptance_rate.mean().item()

    assert run(None) == (400.0, 0.0)
    expected = 2.0 * math.gamma(0.75) / math.gamma(0.25)
    assert run(1.0)[0] == pytest.approx(expected, rel=0.1)


def first_move(energy, start: Tensor | tuple[Tensor, ...], **changes: float) -> tuple[Tensor, ...]:
    """How far the first proposal lies from the start, accepted or not, part by part."""
    seen = []

    def watched(state):
        parts = state if isinstance(state, tuple) else (state,)
        seen.append(tuple(part.detach().clone() for part in parts))
        return energy(state)

    settings = LangevinSettings(**{"steps": 1, "step_size": 0.01, "metropolis": True, **changes})
    langevin(watched, start, settings, seeded())
    return tuple(b - a for a, b in zip(seen[0], seen[1], strict=True))


def test_the_drift_is_limited_over_all_parts_together():
    """Along the gradient, of length limit·√(ητ): here 2·√(0.01·4) over both parts, as 3 to 4."""

    def energy(state: tuple[Tensor, Tensor]) -> Tensor:
        return 3e4 * state[0].sum((1, 2)) + 4e4 * state[1].sum(1)

    start = (torch.zeros(CHAINS, 1, 1), torch.zeros(CHAINS, 1))
    x, z = first_move(energy, start, drift_limit=2.0, temperature=4.0)
    assert x.mean().item() == pytest.approx(-0.6 * 0.4, abs=0.005)
    assert z.mean().item() == pytest.approx(-0.8 * 0.4, abs=0.005)
    assert x.std().item() == pytest.approx(0.2, rel=0.02)


def test_a_drift_within_the_limit_is_left_alone():
    def energy(x: Tensor) -> Tensor:
        return 7.0 * x.sum(1)

    start = torch.zeros(50, 1)
    limited = first_move(energy, start, drift_limit=0.36)  # the drift is 0.35 deviations long
    torch.testing.assert_close(limited, first_move(energy, start), rtol=0.0, atol=0.0)
    cut = first_move(energy, start, drift_limit=0.34)
    torch.testing.assert_close(cut[0] - limited[0], torch.full((50, 1), 0.001))


def test_step_sizes_are_log_uniform_and_each_chains_own():
    (move,) = first_move(
        lambda x: 0.0 * x.sum(1), torch.zeros(CHAINS, 8), step_size=0.01, step_size_max=1.0
    )
    estimates = move.square().mean(1)  # of each chain's η, of relative variance 2/8
    assert estimates.mean().item() == pytest.approx(0.99 / math.log(100.0), rel=0.02)
    squares = 0.5 * (1.0 - 0.01**2) / math.log(100.0)
    assert estimates.square().mean().item() == pytest.approx(1.25 * squares, rel=0.03)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"metropolis": False, "drift_limit": 1.0}, "need Metropolis"),
        ({"metropolis": False, "step_size_max": 1.0}, "need Metropolis"),
        ({"step_size_max": 0.05}, "step_size_max must be 0.1 or more"),
        ({"step_size_max": math.inf}, "step_size_max must be 0.1 or more"),
        ({"step_size_max": math.nan}, "step_size_max must be 0.1 or more"),
        ({"drift_limit": -1.0}, "drift_limit must be positive"),
        ({"drift_limit": 0.0}, "drift_limit must be positive"),
        ({"drift_limit": math.nan}, "drift_limit must be positive"),
    ],
)
def test_wrong_limits_are_refused(wrong, said):
    with pytest.raises(UserError, match=said):
        LangevinSettings(**{"steps": 1, "step_size": 0.1, "metropolis": True, **wrong})
