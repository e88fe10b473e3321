"""Coverage of stacked digits on cases with known answers."""

from __future__ import annotations

import math

import pytest
import torch

from components.metrics.stacked import stacked_coverage
from components.networks.classifier import StackedClassifier


def test_equal_frequencies_and_a_single_class() -> None:
    even = stacked_coverage(torch.arange(1000).repeat(3), 1000)
    assert even.modes == 1000 and even.mode_kl == pytest.approx(0.0, abs=1e-9)
    single = stacked_coverage(torch.full((50,), 7), 1000)
    assert single.modes == 1 and single.mode_kl == pytest.approx(math.log(1000))


def test_half_of_the_classes() -> None:
    half = stacked_coverage(torch.arange(500), 1000)
    assert half.modes == 500 and half.mode_kl == pytest.approx(math.log(2))


def test_perfect_draws_are_this_far_by_chance() -> None:
    """(K - 1) / 2N, which at the project's 10,000 draws is 0.05 nats."""
    drawn = torch.randint(1000, (10_000,), generator=torch.Generator().manual_seed(0))
    found = stacked_coverage(drawn, 1000)
    assert found.mode_kl == pytest.approx(999 / 20_000, rel=0.1) and found.modes >= 998


def test_channels_are_read_one_by_one() -> None:
    torch.manual_seed(0)
    network = StackedClassifier(3, 16, 4, 4).eval()
    images = torch.rand(6, 3, 16, 16)
    each = torch.stack([network.single(images[:, i : i + 1]) for i in range(3)], dim=1)
    expected = each.argmax(dim=2) @ torch.tensor([16, 4, 1])
    logits = network(images)
    assert logits.shape == (6, 64)
    assert torch.equal(logits.argmax(dim=1), expected)
    torch.testing.assert_close(logits[:, 27], each[:, 0, 1] + each[:, 1, 2] + each[:, 2, 3])
