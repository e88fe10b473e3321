"""The guard of an energy: a normal density of the data's features."""

from __future__ import annotations

import torch
from torch import Tensor

from components.networks.energy_conv import StridedEnergy
from components.networks.guard import FeatureGuard, learned_energy


def alone(mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
    return mean, variance


def guarded(strength: float) -> StridedEnergy:
    torch.manual_seed(0)
    return StridedEnergy(1, 8, [4, 6], head="quadratic", guard=strength)


def test_it_is_minus_the_log_of_a_normal_density() -> None:
    guard = FeatureGuard(3, strength=2.0)
    batch = torch.randn(50, 3, generator=torch.Generator().manual_seed(0)) * 3.0 + 1.0
    guard.follow(batch, alone)
    deviation = (batch.var(dim=0, correction=0) + FeatureGuard.FLOOR).sqrt()
    normal = torch.distributions.Normal(batch.mean(dim=0), deviation)
    points = torch.randn(20, 3, generator=torch.Generator().manual_seed(1)) * 5.0
    expected = -2.0 * (normal.log_prob(points) - normal.log_prob(batch.mean(dim=0))).sum(dim=1)
    torch.testing.assert_close(guard(points), expected)


def test_data_pay_half_the_strength_for_each_feature() -> None:
    guard = FeatureGuard(4, strength=0.5)
    batch = torch.randn(1000, 4, generator=torch.Generator().manual_seed(0)) * 7.0
    guard.follow(batch, alone)
    torch.testing.assert_close(guard(batch).mean(), torch.tensor(0.5 * 4 / 2), rtol=1e-4, atol=0.0)


def test_moments_run_after_the_data() -> None:
    guard = FeatureGuard(1, strength=1.0, momentum=0.1)
    guard.follow(torch.tensor([[1.0], [3.0]]), alone)
    guard.follow(torch.tensor([[10.0], [10.0]]), alone)
    torch.testing.assert_close(guard.mean, torch.tensor([0.9 * 2.0 + 0.1 * 10.0]))
    torch.testing.assert_close(guard.variance, torch.tensor([0.9 * 1.0]))


def test_workers_agree_on_the_moments() -> None:
    guard = FeatureGuard(1, strength=1.0)
    guard.follow(torch.tensor([[1.0], [3.0]]), lambda mean, variance: (mean + 5.0, variance * 4.0))
    assert guard.mean.tolist() == [7.0]
    assert guard.variance.tolist() == [4.0]


def test_chains_feel_it_and_losses_do_not() -> None:
    energy, plain = guarded(0.3), guarded(0.0)
    images = torch.rand(16, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    energy.follow(images[:8], alone)
    price = energy.guard(energy.features(images))
    assert bool((price > 0.0).all())
    torch.testing.assert_close(energy(images), plain(images) + price)
    torch.testing.assert_close(learned_energy(energy, images), plain(images))
    torch.testing.assert_close(learned_energy(plain, images), plain(images))


def test_its_moments_are_exported_with_the_weights() -> None:
    energy, other = guarded(0.3), guarded(0.3)
    images = torch.rand(16, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    energy.follow(images, alone)
    other.load_state_dict(energy.state_dict())
    assert torch.equal(other(images), energy(images))
