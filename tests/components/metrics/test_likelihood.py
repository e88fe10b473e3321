from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from components.metrics.likelihood import (
    energy_distance,
    log_partition_by_importance,
    log_partition_on_grid,
)


def log_gaussian(x: Tensor, sigma: float, centre: float = 0.0) -> Tensor:
    """The normalised density of N(centre, sigma²) on every axis."""
    dimensions = x.shape[1]
    norm = dimensions * math.log(sigma * math.sqrt(2 * math.pi))
    return -0.5 * ((x - centre) / sigma).square().sum(dim=1) - norm


def box(half_width: float, dimensions: int = 2) -> tuple[Tensor, Tensor]:
    corner = torch.full((dimensions,), half_width, dtype=torch.float64)
    return -corner, corner


class TestGrid:
    @pytest.mark.parametrize("dimensions", [1, 2, 3])
    def test_a_gaussian_with_a_constant(self, dimensions: int) -> None:
        low, high = box(7.0, dimensions)
        result = log_partition_on_grid(lambda x: log_gaussian(x, 1.0) + 5.5, low, high, 40)
        assert result.log_z == pytest.approx(5.5, abs=1e-9)
        assert result.error < 1e-4
        assert result.covered == pytest.approx(1.0, abs=1e-9)

    def test_a_box_of_unequal_sides(self) -> None:
        # A correlated Gaussian, det Σ = 1·4 - 1² = 3: the axes must not be confused.
        precision = torch.linalg.inv(torch.tensor([[1.0, 1.0], [1.0, 4.0]], dtype=torch.float64))
        low = torch.tensor([-7.0, -14.0], dtype=torch.float64)
        result = log_partition_on_grid(
            lambda x: -0.5 * ((x @ precision) * x).sum(dim=1), low, -low + 1.0, 100
        )
        assert result.log_z == pytest.approx(math.log(2 * math.pi * math.sqrt(3)), abs=1e-8)

    def test_constants_beyond_the_range_of_floats(self) -> None:
        low, high = box(7.0)
        for constant in (-5000.0, 5000.0):
            result = log_partition_on_grid(
                lambda x, c=constant: log_gaussian(x, 1.0) + c, low, high, 40
            )
            assert result.log_z == pytest.approx(constant, abs=1e-8)

    @pytest.mark.parametrize("half_width", [1.5, 2.0, 3.0, 4.0])
    def test_truncation_is_within_the_error(self, half_width: float) -> None:
        low, high = box(half_width)
        result = log_partition_on_grid(lambda x: log_gaussian(x, 1.0), low, high, 100)
        inside = math.erf(half_width / math.sqrt(2)) ** 2
        assert result.log_z == pytest.approx(math.log(inside), abs=1e-3)
        assert abs(result.log_z) <= result.error < 3 * abs(result.log_z)
        assert result.covered == pytest.approx(inside, abs=1.5 * (1 - inside))
        assert result.covered <= inside

    @pytest.mark.parametrize("sigma", [0.01, 0.015, 0.02, 0.03, 0.04])
    @pytest.mark.parametrize("centre", [0.0, 0.013, 0.03])
    def test_coarseness_is_within_the_error(self, sigma: float, centre: float) -> None:
        low, high = box(3.0)  # Cells of 0.06.
        result = log_partition_on_grid(lambda x: log_gaussian(x, sigma, centre), low, high, 100)
        assert abs(result.log_z) <= result.error

    def test_the_error_falls_with_the_resolution(self) -> None:
        low, high = box(3.0)
        errors = [
            log_partition_on_grid(lambda x: log_gaussian(x, 0.1, 0.013), low, high, n).error
            for n in (20, 40, 80, 160)
        ]
        assert errors == sorted(errors, reverse=True) and errors[-1] < 1e-6

    def test_a_density_that_does_not_fall_is_not_covered(self) -> None:
        low, high = box(1.0)
        result = log_partition_on_grid(lambda x: torch.zeros(len(x)), low, high, 40)
        assert result.log_z == pytest.approx(math.log(4))
        assert result.error == math.inf and result.covered == 0.0

    def test_a_box_beside_the_density(self) -> None:
        low, high = box(1.0)
        result = log_partition_on_grid(
            lambda x: torch.full((len(x),), -torch.inf), low, high, resolution=20
        )
        assert result == (-math.inf, math.inf, 0.0)

    def test_not_a_number_is_not_hidden(self) -> None:
        low, high = box(1.0)
        result = log_partition_on_grid(lambda x: x[:, 0].log(), low, high, resolution=20)
        assert math.isnan(result.log_z)

    def test_batches_do_not_matter_and_are_bounded(self) -> None:
        low, high = box(3.0)
        sizes: list[int] = []

        def density(x: Tensor) -> Tensor:
            sizes.append(len(x))
            return log_gaussian(x, 0.5)

        whole = log_partition_on_grid(density, low, high, 40)
        assert sizes == [1600]
        sizes.clear()
        assert log_partition_on_grid(density, low, high, 40, batch_size=700) == whole
        assert sizes == [700, 700, 200]

    def test_points_come_in_the_box_s_dtype_without_gradients(self) -> None:
        weight = torch.ones(2, requires_grad=True)

        def density(x: Tensor) -> Tensor:
            assert x.dtype == torch.float32
            value = -(x.square() @ weight)
            assert not value.requires_grad
            return value

        half = torch.full((2,), 5.0)
        result = log_partition_on_grid(density, -half, half, 60)
        assert result.log_z == pytest.approx(math.log(math.pi), abs=1e-5)

    def test_too_coarse_to_judge_itself(self) -> None:
        with pytest.raises(ValueError, match="at least 20"):
            log_partition_on_grid(lambda x: x[:, 0], *box(1.0), 19)

    def test_empty_box(self) -> None:
        low, high = box(1.0)
        with pytest.raises(ValueError, match="the box is empty"):
            log_partition_on_grid(lambda x: x[:, 0], high, low, 20)


class TestImportance:
    def test_two_weights_by_hand(self) -> None:
        # Weights 1 and 3: mean 2, deviation √2, standard error √2/√2/2 = 0.5.
        result = log_partition_by_importance(torch.tensor([0.0, math.log(3.0)]))
        assert result == pytest.approx((math.log(2.0), 0.5), rel=1e-6)

    def test_equal_weights_are_exact_at_any_scale(self) -> None:
        for constant in (-5000.0, 5000.0):
            result = log_partition_by_importance(torch.full((10,), constant))
            assert result.log_z == pytest.approx(constant)
            assert result.standard_error == pytest.approx(0.0, abs=1e-9)

    def test_a_gaussian_tilted_by_a_quadratic_energy(self) -> None:
        # E exp(-a x²/2) under N(0, 1) is (1 + a)^-½. Over 200 repetitions the errors, in units
        # of the standard error that each repetition claims, have mean 0 and deviation 1.
        tilt, generator = 0.5, torch.Generator().manual_seed(0)
        exact = -0.5 * math.log1p(tilt)
        scaled = []
        for _ in range(200):
            x = torch.randn(2000, generator=generator)
            estimate = log_partition_by_importance(-0.5 * tilt * x.square())
            scaled.append((estimate.log_z - exact) / estimate.standard_error)
        errors = torch.tensor(scaled)
        assert abs(errors.mean()) < 4 / math.sqrt(200)
        assert 0.8 < errors.std() < 1.2


class TestEnergyDistance:
    def test_two_pairs_by_hand(self) -> None:
        # |x - y| is 3, 1, 5, 3: mean 3. |x - x'| is 0, 2, 2, 0: mean 1; so is |y - y'|.
        first = torch.tensor([[0.0], [2.0]])
        second = torch.tensor([[-3.0], [-1.0]])
        assert energy_distance(first, second) == pytest.approx(2 * 3 - 1 - 1)

    def test_zero_from_a_set_to_itself_in_any_order(self) -> None:
        x = torch.randn(300, 2, generator=torch.Generator().manual_seed(0))
        assert energy_distance(x, x.flip(0)) == pytest.approx(0.0, abs=1e-12)

    def test_chunks_do_not_matter(self) -> None:
        generator = torch.Generator().manual_seed(0)
        x, y = (torch.randn(n, 2, generator=generator) for n in (50, 70))
        assert energy_distance(x, y, chunk=7) == pytest.approx(energy_distance(x, y), rel=1e-12)

    def test_gaussians_of_known_distance(self) -> None:
        # X - Y is N(d, 2), X - X' is N(0, 2): 2 E|N(d, 2)| - 2 E|N(0, 2)| in closed form.
        generator, d = torch.Generator().manual_seed(0), 1.5
        x, y = (torch.randn(4000, 1, generator=generator) for _ in range(2))
        shifted = 2 / math.sqrt(math.pi) * math.exp(-d * d / 4) + d * math.erf(d / 2)
        expected = 2 * shifted - 4 / math.sqrt(math.pi)
        assert energy_distance(x + d, y) == pytest.approx(expected, rel=0.1)
