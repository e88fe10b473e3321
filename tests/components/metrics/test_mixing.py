"""Diagnostics of chains against processes whose correlation is known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from components.metrics.mixing import autocorrelation, effective_sample_size, split_r_hat


def autoregressive(a: float, steps: int, chains: int, seed: int = 0) -> Tensor:
    """x ← a·x + √(1 - a²) ω from its law N(0, 1): S×N; its correlation at lag t is aᵗ."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(steps, chains, generator=generator, dtype=torch.float64)
    path = [noise[0]]
    for step in range(1, steps):
        path.append(a * path[-1] + math.sqrt(1.0 - a * a) * noise[step])
    return torch.stack(path)


@pytest.mark.parametrize("a", [0.0, 0.5, 0.9, -0.4])
def test_effective_size_of_an_autoregressive_chain(a: float) -> None:
    """S·N (1 - a) / (1 + a)."""
    draws = autoregressive(a, 1000, 40)
    expected = 40_000 * (1.0 - a) / (1.0 + a)
    found = effective_sample_size(draws).item()
    assert found == pytest.approx(expected, rel=0.1)


def test_effective_size_predicts_the_error_of_the_mean() -> None:
    """The means of 400 runs of 4 chains vary by 1 / ESS."""
    runs = autoregressive(0.8, 300, 1600).view(300, 400, 4).transpose(1, 2)
    variance = runs.mean(dim=(0, 1)).var().item()
    sizes = effective_sample_size(runs)
    assert sizes.shape == (400,)
    assert 1.0 / sizes.median().item() == pytest.approx(variance, rel=0.2)


def test_autocorrelation_is_a_power() -> None:
    found = autocorrelation(autoregressive(0.7, 2000, 50))
    expected = 0.7 ** torch.arange(8, dtype=torch.float64)
    torch.testing.assert_close(found[:8], expected, rtol=0.0, atol=0.02)
    assert found[0] == 1.0 and found[500:].abs().mean() < 0.02


def test_autocovariance_by_hand() -> None:
    """One chain 0, 1, 0, 1, 0, 1: lag 1 has -5/24 of a biased variance of 1/4."""
    draws = torch.tensor([0.0, 1.0] * 3)[:, None]
    within, total = 0.3, 0.25
    expected = 1.0 - (within + 5.0 / 24.0) / total
    assert autocorrelation(draws)[1].item() == pytest.approx(expected)


def test_chains_of_one_law_agree() -> None:
    assert split_r_hat(autoregressive(0.5, 1000, 20)).item() == pytest.approx(1.0, abs=0.005)


def test_chains_in_modes_of_their_own_disagree() -> None:
    """Variance 1 within, μ² between two modes at ±μ."""
    draws = autoregressive(0.0, 1000, 20)
    draws[:, 10:] += 6.0
    expected = math.sqrt(1.0 + 9.0 * 40 / 39)
    assert split_r_hat(draws).item() == pytest.approx(expected, rel=0.01)
    # Each chain is then worth about one draw, whatever its length.
    assert effective_sample_size(draws).item() < 60.0
    assert autocorrelation(draws)[500].item() == pytest.approx(0.9, abs=0.03)


def test_a_chain_still_on_its_way_disagrees_with_itself() -> None:
    """Halves of a rising line: the reason to split."""
    draws = torch.linspace(0.0, 1.0, 101)[:, None].expand(101, 5)
    # n numbers in a row with gap h: variance h² n (n + 1) / 12, means 50 h apart.
    gap, n = 0.01, 50
    within, between = gap**2 * n * (n + 1) / 12.0, (n * gap) ** 2 / 4.0 * 10 / 9
    expected = math.sqrt((n - 1) / n + between / within)
    assert split_r_hat(draws).item() == pytest.approx(expected, rel=1e-6)


def test_numbers_side_by_side_are_judged_apart() -> None:
    mixed, stuck = autoregressive(0.3, 200, 8), autoregressive(0.3, 200, 8)
    stuck[:, 4:] += 5.0
    both = torch.stack([mixed, stuck], dim=2)
    for measure in (split_r_hat, effective_sample_size):
        apart = torch.stack([measure(mixed), measure(stuck)])
        torch.testing.assert_close(measure(both), apart)
    assert autocorrelation(both.unsqueeze(2)).shape == (200, 1, 2)


def test_chains_that_stand_still() -> None:
    still = torch.ones(20, 4, dtype=torch.float64)
    assert split_r_hat(still).isnan() and effective_sample_size(still).isnan()
    assert split_r_hat(still * torch.arange(4)).isinf()


def test_short_chains_are_refused() -> None:
    for measure, least in ((split_r_hat, 4), (autocorrelation, 4), (effective_sample_size, 8)):
        with pytest.raises(ValueError, match=f"chains of {least} kept steps"):
            measure(torch.zeros(least - 1, 3))
