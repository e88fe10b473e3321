from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from components.errors import UserError
from components.metrics.modes import mode_coverage, scarcest_mode

SIGMA = 0.05


@pytest.fixture
def centres() -> Tensor:
    """A 5×5 grid with spacing 2, so that modes of 0.05 are 40 sigma apart."""
    axis = torch.linspace(-4.0, 4.0, 5)
    return torch.cartesian_prod(axis, axis)


def test_the_mixture_s_own_points(centres: Tensor) -> None:
    count = 100_000
    generator = torch.Generator().manual_seed(0)
    mode = torch.randint(0, 25, (count,), generator=generator)
    points = centres[mode] + SIGMA * torch.randn(count, 2, generator=generator)
    coverage = mode_coverage(points, centres, SIGMA)
    assert coverage.modes == 25
    # The squared distance over sigma² is chi-squared of 2 degrees: exp(-r²/2) lies beyond r.
    assert coverage.off_mode_fraction == pytest.approx(math.exp(-8), abs=2e-4)
    assert coverage.high_quality_fraction == pytest.approx(1 - math.exp(-4.5), abs=2e-3)
    # Twice the count times the divergence is chi-squared of 24 degrees.
    assert 0 <= coverage.mode_kl < 60 / (2 * count)


def test_points_counted_by_hand(centres: Tensor) -> None:
    offsets = torch.tensor([0.0, 2.9, 3.1, 3.9, 4.1])[:, None] * torch.tensor([SIGMA, 0.0])
    points = torch.cat([centres[0] + offsets, centres[7] + offsets[4:]])
    coverage = mode_coverage(points, centres, SIGMA)
    # Mode 7 has one point only, beyond its 4 sigma.
    assert coverage.modes == 1
    assert coverage.off_mode_fraction == pytest.approx(2 / 6)
    assert coverage.high_quality_fraction == pytest.approx(2 / 6)
    divergence = 5 / 6 * math.log(25 * 5 / 6) + 1 / 6 * math.log(25 / 6)
    assert coverage.mode_kl == pytest.approx(divergence)


def test_the_scarcest_mode(centres: Tensor) -> None:
    even = centres.repeat(4, 1)
    assert scarcest_mode(even, centres, SIGMA) == 1.0
    # 99 points, 3 of them at mode 0; far ones and those beyond 3 sigma are not counted.
    off = torch.tensor([[3.1 * SIGMA, 0.0], [1.0, 0.0]])
    assert scarcest_mode(torch.cat([even[1:], off]), centres, SIGMA) == pytest.approx(25 * 3 / 99)
    assert scarcest_mode(centres[1:], centres, SIGMA) == 0.0
    assert scarcest_mode(centres + 1.0, centres, SIGMA) == 0.0
    assert scarcest_mode(centres + 3.5 * SIGMA, centres, SIGMA, quality_threshold=5.0) == 1.0


def test_thresholds_are_the_caller_s(centres: Tensor) -> None:
    point = centres[3:4] + torch.tensor([5 * SIGMA, 0.0])
    assert mode_coverage(point, centres, SIGMA).modes == 0
    assert mode_coverage(point, centres, SIGMA, threshold=6.0).modes == 1
    wider = mode_coverage(point, centres, SIGMA, quality_threshold=6.0)
    assert wider.high_quality_fraction == 1.0


def test_collapse_to_one_mode(centres: Tensor) -> None:
    coverage = mode_coverage(centres[12].expand(100, 2), centres, SIGMA)
    assert coverage.modes == 1
    assert coverage.mode_kl == pytest.approx(math.log(25))


def test_equal_histogram_has_no_divergence(centres: Tensor) -> None:
    coverage = mode_coverage(centres.repeat(4, 1), centres, SIGMA)
    assert coverage == (25, 0.0, 1.0, pytest.approx(0.0, abs=1e-12))


def test_narrow_modes_far_from_the_origin(centres: Tensor) -> None:
    # Single precision's spacing near 1000 is 6e-5: distances through matrix products would be lost.
    far = centres + 1000.0
    coverage = mode_coverage(far + 0.002, far, 0.001, threshold=4.0)
    assert coverage.modes == 25 and coverage.off_mode_fraction == 0.0


def test_a_diverged_sampler_is_named(centres: Tensor) -> None:
    points = centres.clone()
    points[4, 1] = torch.nan
    with pytest.raises(UserError, match="1 of 25 generated points are not finite"):
        mode_coverage(points, centres, SIGMA)
