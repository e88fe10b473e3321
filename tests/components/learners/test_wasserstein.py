"""Penalties on latents, against what is known of them."""

from __future__ import annotations

import math

import pytest
import torch

from components.learners.wasserstein import SCALES, LatentDiscriminator, kernel, mmd, squared_norm


def test_kernel_of_two_points() -> None:
    x, y = torch.zeros(1, 2), torch.tensor([[3.0, 4.0]])
    assert kernel(x, x).item() == pytest.approx(len(SCALES))
    expected = sum(4.0 * s / (4.0 * s + 25.0) for s in SCALES)
    assert kernel(x, y).item() == pytest.approx(expected)


def test_mmd_of_a_tiny_sample_by_hand() -> None:
    z, prior = torch.tensor([[0.0], [1.0]]), torch.tensor([[0.0], [2.0]])

    def k(distance: float) -> float:
        return sum(2.0 * s / (2.0 * s + distance**2) for s in SCALES)

    expected = k(1.0) + k(2.0) - 2.0 * (k(0.0) + k(2.0) + k(1.0) + k(1.0)) / 4.0
    assert mmd(z, prior).item() == pytest.approx(expected, rel=1e-5)


def test_mmd_is_nothing_between_equal_laws_and_much_between_others() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 400, 4, generator=generator)
    assert abs(mmd(a, b).item()) < 0.02
    assert mmd(a, 0.3 * b).item() > 0.1 and mmd(a, b + 1.0).item() > 0.1


def test_norm_of_rae() -> None:
    z = torch.tensor([[3.0, 4.0], [0.0, 2.0]])
    assert 0.5 * squared_norm(z).item() == pytest.approx(0.5 * (25.0 + 4.0) / 2.0)


def test_the_discriminator_learns_the_log_ratio_of_densities() -> None:
    """Its optimum's logit is log p(z) − log q(z): here 2 − 2 z, for q = N(2, 1) on the line."""
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    network = LatentDiscriminator(1, [32])
    adam = torch.optim.Adam(network.parameters(), lr=0.01)
    for _ in range(400):
        prior, z = torch.randn(2, 512, 1, generator=generator)
        adam.zero_grad()
        loss = network.loss(z + 2.0, prior)
        loss.backward()
        adam.step()
    at = torch.tensor([[0.0], [1.0], [2.0]])
    torch.testing.assert_close(
        network(at).detach(), torch.tensor([2.0, 0.0, -2.0]), rtol=0, atol=0.4
    )
    assert loss.item() < 2.0 * math.log(2.0) - 0.5


def test_each_side_of_the_game_moves_its_own_weights() -> None:
    torch.manual_seed(0)
    network = LatentDiscriminator(2, [8])
    z = torch.randn(8, 2, requires_grad=True)
    network.fooled(z).backward()
    assert z.grad is not None and z.grad.abs().sum() > 0
    assert all(p.grad is None for p in network.parameters())
    z.grad = None
    network.loss(z, torch.randn(8, 2)).backward()
    assert z.grad is None
    assert all(p.grad is not None for p in network.parameters())
