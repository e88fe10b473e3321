"""Chains whose law is known: one that converges, one that is caught, one that is on its way."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from components.errors import UserError
from components.metrics.chains import diagnose, drift, metropolis_acceptance
from components.metrics.sliced import sliced_wasserstein
from components.models.vae import VAE
from components.models.vaebm import VAEBM
from components.samplers.frozen import frozen
from components.samplers.langevin import LangevinSettings


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=seeded(seed))


def bowl(x: Tensor) -> Tensor:
    """-log N(0, 1) up to a constant."""
    return 0.5 * x.square().sum(dim=1)


def wells(x: Tensor) -> Tensor:
    """Wells at ±3 of the first coordinate, deep enough to keep a chain."""
    return 2.0 * (x[:, 0].abs() - 3.0).square() + 0.5 * x[:, 1:].square().sum(dim=1)


def test_chains_that_converge() -> None:
    """An AR(1) process with a = 1 - η/2 = 0.6, of variance η / (1 - a²)."""
    settings = LangevinSettings(steps=20, step_size=0.8)
    found = diagnose(bowl, normal(200, 2), settings, seeded(), [2, 40], observe=lambda x: x[:, :1])
    assert found.steps == list(range(801)) and found.energies.shape == (801, 200)
    assert found.draws == 401 * 200 and found.r_hat.shape == found.effective.shape == (2,)
    # Of converged chains R-hat² is 1 + (τ - 1) / S: halves of 200 steps, τ = 1.6 / 0.4.
    assert found.r_hat[1].item() == pytest.approx(math.sqrt(1.0 + 3.0 / 200), abs=0.005)
    assert found.r_hat[0] < found.r_hat[1]
    assert found.effective[1].item() == pytest.approx(400 * 200 * 0.4 / 1.6, rel=0.1)
    # The energy is a sum of squares, whose correlation is that of the coordinate squared.
    expected = 0.36 ** torch.arange(5, dtype=torch.float64)
    torch.testing.assert_close(found.correlation[:5], expected, rtol=0.0, atol=0.04)
    variance = 0.8 / (1.0 - 0.36)
    assert found.energies[400:].mean().item() == pytest.approx(variance, rel=0.03)
    # Independent by then: the difference has twice the variance.
    assert found.displacement == pytest.approx([math.sqrt(2 * variance)] * 2, rel=0.12)


def test_distributions_that_converge_do_not_drift() -> None:
    settings = LangevinSettings(steps=20, step_size=0.2)
    found = diagnose(bowl, normal(2000, 2), settings, seeded(), [2, 4])
    far = diagnose(bowl, normal(2000, 2) + 8.0, settings, seeded(), [2, 4])

    def distance(first: Tensor, second: Tensor) -> float:
        return sliced_wasserstein(first, second, 50, seeded(3))

    assert [len(stage) for stage in found.stages] == [2000] * 3
    assert max(drift(found.stages, distance)) < 0.1
    # On its way, a distribution moves by 8 √2 (0.9^20 - 0.9^40), of which a line sees 1/√2.
    shift = 8.0 * (0.9**20 - 0.9**40)
    assert drift(far.stages, distance)[0] == pytest.approx(shift, rel=0.1)


def test_chains_caught_in_modes_disagree() -> None:
    start = normal(40, 2)
    start[:, 0] = torch.where(torch.arange(40) < 20, 3.0, -3.0)
    settings = LangevinSettings(steps=20, step_size=0.2)
    found = diagnose(wells, start, settings, seeded(), [2, 20], every=2, observe=lambda x: x)
    energy, across, along = found.r_hat.tolist()
    # ±3 between, about ½ within; both wells are alike, so that the energy cannot tell.
    assert across > 4.0 and energy < 1.05 and along < 1.15
    assert found.effective[1] < 100.0 < found.effective[2]


def test_chains_still_falling_are_not_at_rest() -> None:
    """Noise-free: energies fall by (1 - η/2)² a step."""
    settings = LangevinSettings(steps=10, step_size=0.1, noise_scale=0.0)
    found = diagnose(bowl, normal(20, 2), settings, seeded(), [3])
    ratio = found.energies[1:] / found.energies[:-1]
    torch.testing.assert_close(ratio, torch.full_like(ratio, 0.95**2), rtol=1e-4, atol=0.0)
    assert found.r_hat.item() > 1.0
    moved = (0.95**30 - 0.95**10) * normal(20, 2)
    assert found.displacement == pytest.approx([moved.square().mean().sqrt().item()], rel=1e-4)


def test_acceptance_falls_with_the_step() -> None:
    rates = [
        metropolis_acceptance(bowl, normal(500, 8), LangevinSettings(20, step), seeded())
        for step in (0.01, 0.5, 3.0)
    ]
    assert rates[0] > 0.99 and rates[0] > rates[1] > rates[2] and rates[2] < 0.5
    with pytest.raises(UserError, match="needs noise"):
        metropolis_acceptance(bowl, normal(5, 2), LangevinSettings(5, 0.1, 0.0), seeded())


def test_a_vaebm_is_judged_in_the_space_of_its_noise() -> None:
    """Without a tilt the law of (ε_z, ε_x) is standard normal: chains that start there stay."""
    torch.manual_seed(0)
    base = VAE(nn.Linear(3, 4), nn.Linear(2, 3), 2, (3,), "gaussian")
    energy = nn.Sequential(nn.Linear(3, 1), nn.Flatten(0))
    nn.init.zeros_(energy[0].weight)
    model = VAEBM(base, energy)
    settings = LangevinSettings(steps=10, step_size=1.0)
    start = model.noise(500, seeded())
    with frozen(model.energy):
        found = diagnose(
            model.noise_potential, start, settings, seeded(1), [2, 20], every=2,
            observe=lambda state: state[0],
        )  # fmt: skip
        rate = metropolis_acceptance(model.noise_potential, start, settings, seeded(1))
    assert found.r_hat.shape == (3,) and (found.r_hat[1:] - 1.0).abs().max() < 0.05
    items = [model.transport(stage) for stage in found.stages]
    moved = drift(items, lambda a, b: sliced_wasserstein(a, b, 20, seeded(2)))
    assert max(moved) < 0.2 and 0.5 < rate < 0.95
    assert len(found.stages[0]) == 2 and found.energies.shape == (101, 500)


@pytest.mark.parametrize("multiples", [[], [1, 2], [3, 2], [2, 2]])
def test_multiples_that_do_not_rise_are_refused(multiples: list[int]) -> None:
    with pytest.raises(UserError, match="must rise"):
        diagnose(bowl, normal(3, 2), LangevinSettings(5, 0.1), seeded(), multiples)


def test_too_few_kept_steps_are_refused() -> None:
    with pytest.raises(UserError, match="10 steps of which every 5"):
        diagnose(bowl, normal(3, 2), LangevinSettings(5, 0.1), seeded(), [2], every=5)
