from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import wasserstein_distance
from torch import Tensor

from components.metrics.sliced import sliced_wasserstein


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


@pytest.mark.parametrize(("count", "other"), [(30, 30), (30, 45), (7, 31), (1, 5)])
def test_on_a_line_it_is_the_wasserstein_distance(count: int, other: int) -> None:
    """By the distance between distribution functions, another way than quantiles."""
    first, second = normal(count, 1), 2.0 * normal(other, 1, seed=1) + 0.5
    expected = wasserstein_distance(first[:, 0].numpy(), second[:, 0].numpy())
    found = sliced_wasserstein(first, second, 3, seeded(2), order=1)
    assert found == pytest.approx(expected, rel=1e-12)


def test_a_shift_is_seen_by_its_part_along_each_direction() -> None:
    """E (θ·a)² = |a|² / D."""
    first, shift = normal(50, 3), torch.tensor([3.0, 0.0, 4.0], dtype=torch.float64)
    found = sliced_wasserstein(first, first + shift, 20_000, seeded())
    assert found == pytest.approx(5.0 / math.sqrt(3.0), rel=0.02)


def test_two_scales_of_one_cloud() -> None:
    """W_2 of θ·x and 3 θ·x is 2 |θ·x| in the mean square; E (θ·x)² = |x|² / D."""
    first = normal(40, 2)
    first = torch.cat([first, -first])
    expected = 2.0 * math.sqrt(first.square().sum(dim=1).mean().item() / 2)
    found = sliced_wasserstein(first, 3.0 * first, 20_000, seeded())
    assert found == pytest.approx(expected, rel=0.02)


def test_the_order_of_points_and_repetition_do_not_matter() -> None:
    first, second = normal(20, 2), normal(30, 2, seed=1)
    expected = sliced_wasserstein(first, second, 100, seeded(3))
    shuffled = first[torch.randperm(20, generator=seeded())]
    assert sliced_wasserstein(second, shuffled, 100, seeded(3)) == pytest.approx(expected)
    twice = torch.cat([first, first])
    assert sliced_wasserstein(twice, second, 100, seeded(3)) == pytest.approx(expected)
    assert sliced_wasserstein(first, shuffled, 100, seeded(3)) == pytest.approx(0.0, abs=1e-12)


def test_sets_that_do_not_fit_are_refused() -> None:
    for first, second in ((normal(3, 2), normal(3, 1)), (normal(0, 2), normal(3, 2))):
        with pytest.raises(ValueError, match="one dimension"):
            sliced_wasserstein(first, second, 2, seeded())
