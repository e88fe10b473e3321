"""The densities integrate to one, and their samples follow them."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from scipy import integrate

from components.datasets.toy import Checkerboard, GaussianGrid, SwissRoll, density
from components.errors import UserError

NAMES = ["25-gaussians", "9-gaussians", "swiss-roll", "small-swiss-roll", "checkerboard"]


def grid(low: float, high: float, count: int) -> tuple[torch.Tensor, float]:
    """Midpoints of count² equal cells, and the area of a cell."""
    width = (high - low) / count
    axis = low + width * (torch.arange(count, dtype=torch.float64) + 0.5)
    return torch.cartesian_prod(axis, axis), width**2


@pytest.mark.parametrize("name", ["25-gaussians", "9-gaussians", "swiss-roll", "checkerboard"])
def test_integrates_to_one(name: str) -> None:
    points, area = grid(-8, 8, 400)
    # float32 points would move off the grid; the density itself works in float64.
    assert float(density(name).log_prob(points).exp().sum() * area) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_samples_follow_the_density(name: str) -> None:
    law, cells, n = density(name), 32, 40_000
    x = law.sample(n, torch.Generator().manual_seed(1))
    points, area = grid(-8, 8, cells * 8)
    fine = (law.log_prob(points).exp() * area).reshape(cells, 8, cells, 8)
    expected = fine.sum(dim=(1, 3)).flatten() * n
    cell = ((x.double() + 8) / 0.5).floor().long()
    seen = torch.bincount(cell[:, 0] * cells + cell[:, 1], minlength=cells**2).double()
    likely = expected > 5
    chi_squared = ((seen - expected)[likely].square() / expected[likely]).sum()
    degrees = int(likely.sum())
    assert abs(float(chi_squared) - degrees) < 6 * math.sqrt(2 * degrees)
    assert seen[expected < 1e-6].sum() == 0


@pytest.mark.parametrize("name", NAMES)
def test_sampling_is_reproducible_float32(name: str) -> None:
    first, second = (density(name).sample(100, torch.Generator().manual_seed(3)) for _ in "ab")
    assert first.dtype == torch.float32 and first.shape == (100, 2)
    assert torch.equal(first, second)
    other = density(name).sample(100, torch.Generator().manual_seed(4))
    assert not torch.equal(first, other)


def test_grid_has_the_stated_likelihood_and_ratio() -> None:
    law = GaussianGrid()
    x = law.sample(200_000, torch.Generator().manual_seed(0))
    # The standard deviation of log p is 1 (half a chi-squared of two degrees).
    assert float(law.log_prob(x).mean()) == pytest.approx(-1.10, abs=4 / math.sqrt(200_000))
    assert law.centres.shape == (25, 2)
    assert float(torch.pdist(law.centres).min()) == pytest.approx(40 * law.sigma)
    assert torch.allclose(law.centres.mean(dim=0), torch.zeros(2, dtype=torch.float64))


@pytest.mark.parametrize(
    ("name", "expected"), [("9-gaussians", -1.37), ("small-swiss-roll", -0.59)]
)
def test_chapter_5s_densities_are_just_above_the_flows_of_its_text(
    name: str, expected: float
) -> None:
    x = density(name).sample(10_000, torch.Generator().manual_seed(0))
    assert float(density(name).log_prob(x).mean()) == pytest.approx(expected, abs=0.04)


def test_nine_gaussians_are_at_the_stated_places() -> None:
    law = density("9-gaussians")
    assert isinstance(law, GaussianGrid)
    assert law.sigma == pytest.approx(0.16, abs=1e-4)
    axis = torch.tensor([-2.0, 0.0, 2.0], dtype=torch.float64)
    torch.testing.assert_close(law.centres, torch.cartesian_prod(axis, axis), rtol=1e-4, atol=1e-4)


def test_swiss_roll_against_adaptive_quadrature() -> None:
    law = SwissRoll()
    for point in ([0.3, -1.9], [2.0, 2.0], [0.0, 0.0], [-3.0, 1.0]):

        def integrand(t: float, x: list[float] = point) -> float:
            squared = (x[0] - 0.2 * t * math.cos(t)) ** 2 + (x[1] - 0.2 * t * math.sin(t)) ** 2
            return math.exp(-squared / (2 * 0.04)) / (2 * math.pi * 0.04) / (3 * math.pi)

        # Cut in pieces, lest the adaptive rule step over a narrow peak.
        edges = [1.5 * math.pi * (1 + i / 10) for i in range(21)]
        expected = sum(
            integrate.quad(integrand, a, b, epsabs=1e-14)[0] for a, b in itertools.pairwise(edges)
        )
        found = law.log_prob(torch.tensor([point], dtype=torch.float64)).exp()
        assert float(found) == pytest.approx(expected, rel=1e-9, abs=1e-13)


def test_fine_noise_keeps_the_swiss_roll_exact() -> None:
    law = density("small-swiss-roll")
    points, area = grid(-1.8, 1.8, 128)
    assert float(law.log_prob(points).exp().sum() * area) == pytest.approx(1, abs=1e-6)


def test_checkerboard_is_uniform_on_half_the_board() -> None:
    law = Checkerboard()
    x = law.sample(100_000, torch.Generator().manual_seed(0))
    assert torch.equal(law.log_prob(x), torch.full((100_000,), -math.log(32), dtype=torch.float64))
    outside = torch.tensor([[1.0, -1.0], [4.5, 0.5], [-5.0, -5.0]])
    assert torch.isneginf(law.log_prob(outside)).all()


def test_unknown_name() -> None:
    with pytest.raises(
        UserError, match=r"'banana'; known: 25-gaussians, 9-gaussians, swiss-roll, .*"
    ):
        density("banana")
