"""The diffusion against Bayes' rule and the moments of Gaussians."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from components.errors import UserError
from components.samplers.diffusion import DiffusionProcess, DiffusionSettings

SCHEDULES: list[dict[str, Any]] = [{}, {"schedule": "geometric", "smallest": 0.04}]


def process(steps: int = 4, **settings: Any) -> DiffusionProcess:
    return DiffusionProcess(DiffusionSettings(steps, **settings)).double()


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def times(t: int, count: int) -> Tensor:
    return torch.full((count,), t)


@pytest.mark.parametrize("steps", [1, 4, 1000])
def test_the_noise_of_a_step_is_that_of_equation_6_15(steps: int) -> None:
    """β_t in the closed form, and √ᾱ_t the product of what each step keeps."""
    found = process(steps)
    t = torch.arange(1, steps + 1, dtype=torch.float64)
    beta = 1.0 - torch.exp(-0.1 / steps - 0.5 * (20.0 - 0.1) * (2.0 * t - 1.0) / steps**2)
    torch.testing.assert_close(found.added.square(), beta, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(found.signal[1:], found.kept.cumprod(0), rtol=1e-4, atol=0.0)
    assert found.signal[0] == 1.0 and found.noise[0] == 0.0


def test_how_much_noise_there_is_does_not_depend_on_the_number_of_steps() -> None:
    torch.testing.assert_close(process(1000).noise[::250], process(4).noise)


def test_a_geometric_schedule_grows_by_one_factor() -> None:
    variances = process(5, schedule="geometric", smallest=0.01, largest=0.99).noise.square()[1:]
    ratios = variances[1:] / variances[:-1]
    torch.testing.assert_close(ratios, torch.full_like(ratios, 99.0**0.25), rtol=1e-5, atol=0.0)
    assert process(1, schedule="geometric").noise[1].item() == pytest.approx(math.sqrt(0.9999))


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_posterior_is_bayes_rule(schedule: dict[str, Any]) -> None:
    """q(x_t | x_{t+1}, x_0) ∝ q(x_{t+1} | x_t) q(x_t | x_0), a product of two Gaussians."""
    found, clean, after = process(4, **schedule), torch.tensor([0.7]), torch.tensor([-1.3])
    clean, after = clean.double(), after.double()
    for t in range(1, 4):
        alpha, beta = found.kept[t].square(), found.added[t].square()
        variance = found.noise[t].square()
        precision = alpha / beta + 1.0 / variance
        centre = found.kept[t] * after / beta + found.signal[t] * clean / variance
        mean = found.posterior(clean, after, times(t, 1), torch.zeros(1))
        spread = found.posterior(clean, after, times(t, 1), torch.ones(1)) - mean
        torch.testing.assert_close(mean, centre / precision, rtol=1e-5, atol=0.0)
        torch.testing.assert_close(spread, precision.rsqrt().view(1), rtol=1e-5, atol=0.0)


def test_at_the_last_step_the_posterior_is_what_was_predicted() -> None:
    clean, after, noise = torch.randn(3, 5, 2, 4, 4, generator=seeded())
    found = DiffusionProcess(DiffusionSettings(4))
    torch.testing.assert_close(found.posterior(clean, after, times(0, 5), noise), clean)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("t", [0, 2])
@pytest.mark.parametrize("first", ["x_t", "x_{t+1}"])
def test_a_pair_has_the_joint_law_of_two_steps(
    schedule: dict[str, Any], t: int, first: str
) -> None:
    """Of x_0 = c: means √ᾱ c, and covariance √α (1 - ᾱ_t) between the two."""
    found, count = process(4, **schedule), 200_000
    clean = torch.full((count, 1), 0.8, dtype=torch.float64)
    if first == "x_t":
        drawn = found.pair(clean, times(t, count), seeded())
    else:
        noise = torch.randn(count, 1, generator=seeded(1), dtype=torch.float64)
        drawn = found.pair_by_posterior(clean, times(t, count), noise, seeded())
    pair = torch.cat(drawn, dim=1)
    expected = 0.8 * found.signal[t : t + 2]
    torch.testing.assert_close(pair.mean(0), expected, rtol=0.0, atol=0.01)
    variance = found.noise[t : t + 2].square()
    covariance = (found.kept[t] * variance[0]).item()
    matrix = torch.diag(variance) + torch.tensor([[0.0, covariance], [covariance, 0.0]])
    torch.testing.assert_close(pair.T.cov(), matrix, rtol=0.0, atol=0.015)


def test_items_of_one_batch_have_times_of_their_own() -> None:
    found, clean = DiffusionProcess(DiffusionSettings(4)), torch.ones(3, 1, 2, 2)
    state = found.diffuse(clean, torch.tensor([0, 2, 4]), torch.zeros(3, 1, 2, 2))
    torch.testing.assert_close(state[:, 0, 0, 0], found.signal[[0, 2, 4]])
    drawn = found.times(4000, seeded())
    assert drawn.min() == 0 and drawn.max() == 3
    torch.testing.assert_close(drawn.bincount() / 4000, torch.full((4,), 0.25), rtol=0.0, atol=0.03)


@pytest.mark.parametrize("steps", [1, 3, 4, 8, 100])
def test_groups_have_one_time_and_all_times_are_as_often(steps: int) -> None:
    found, generator = process(steps=steps), seeded()
    drawn = torch.stack([found.times(64, generator, group=4) for _ in range(500)])
    groups = drawn.unflatten(1, (4, 16))
    assert torch.equal(groups, groups[:, :1].expand_as(groups))
    counts = functional.one_hot(groups[:, 0], steps).sum(1)
    assert counts.min() >= 16 // steps and counts.max() <= -(-16 // steps)
    # Each place of a batch meets each t, and none more than another.
    expected = 500 / steps
    at_a_place = torch.bincount(drawn[:, 0], minlength=steps)
    assert at_a_place.sub(expected).abs().max() < 5 * expected**0.5 + 1


def test_the_noise_tells_the_data() -> None:
    """Eq. 6.9 undoes Eq. 6.8."""
    found, (clean, noise) = process(3), torch.randn(2, 6, 2, generator=seeded()).double()
    t = torch.tensor([0, 1, 2, 0, 1, 2])
    after = found.diffuse(clean, t + 1, noise)
    torch.testing.assert_close(found.clean_from(noise, after, t), clean)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "1 step or more, not 0"),
        ({"steps": 4, "schedule": "cosine"}, "unknown schedule 'cosine'"),
        ({"steps": 4, "beta_min": 0.0}, "0 < beta_min <= beta_max"),
        ({"steps": 4, "largest": 1.0}, "0 < smallest < largest < 1"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        DiffusionSettings(**settings)
