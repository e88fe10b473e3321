"""Denoising against Gaussian data, for which the best prediction of the noise is known."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from components.datasets.toy import GaussianGrid, density
from components.errors import UserError
from components.metrics.modes import mode_coverage
from components.samplers.denoising import chosen_times, ddim, denoise, probability_flow
from components.samplers.diffusion import DiffusionProcess, DiffusionSettings

VARIANCE = 0.3  # of the data, N(0, VARIANCE)


def process(steps: int) -> DiffusionProcess:
    return DiffusionProcess(DiffusionSettings(steps)).double()


class Best:
    """E[ε | x_{t+1}] of such data: σ x / (ᾱ v + σ²); between times √ᾱ/σ is interpolated."""

    def __init__(self, process: DiffusionProcess) -> None:
        self.process, self.calls = process, 0
        self.ratio = (process.noise / process.signal)[1:].log()

    def __call__(self, after: Tensor, t: Tensor) -> Tensor:
        self.calls += 1
        below = t.floor().long().clamp(max=max(0, len(self.ratio) - 2))
        above = (below + 1).clamp(max=len(self.ratio) - 1)
        ratio = torch.lerp(self.ratio[below], self.ratio[above], (t - below).double()).exp()
        signal = (1.0 + ratio.square()).rsqrt().unsqueeze(1)
        noise = ratio.unsqueeze(1) * signal
        return noise * after / (signal.square() * VARIANCE + noise.square())


def normal(count: int = 8, seed: int = 0) -> Tensor:
    return torch.randn(count, 1, generator=torch.Generator().manual_seed(seed)).double()


def solved(found: DiffusionProcess, start: Tensor) -> Tensor:
    """The probability flow of Gaussians scales: to the deviation at the end from that at T."""
    at_the_end = found.signal[-1].square() * VARIANCE + found.noise[-1].square()
    return start * (VARIANCE / at_the_end).sqrt()


def test_the_ode_is_solved() -> None:
    found = process(1000)
    best = Best(found)
    denoised = probability_flow(best, found, normal(), 1e-6)
    torch.testing.assert_close(denoised.state, solved(found, normal()), rtol=1e-3, atol=1e-4)
    assert denoised.nfe == best.calls > 20


def test_ddim_comes_nearer_with_more_steps() -> None:
    found = process(1000)
    expected = solved(found, normal())
    errors = [
        (ddim(Best(found), found, normal(), steps, torch.Generator()).state - expected).norm()
        for steps in (4, 20, 100, 1000)
    ]
    assert all(later < 0.5 * earlier for earlier, later in itertools.pairwise(errors))
    assert errors[-1] < 5e-3 * expected.norm()


def test_ddim_with_all_steps_and_all_noise_is_ancestral() -> None:
    """With the same draws of noise to the bit of rounding, step by step."""
    found = process(5)
    best, generator = Best(found), torch.Generator().manual_seed(3)

    def step(after: Tensor, t: Tensor) -> Tensor:
        clean = found.clean_from(best(after, t), after, t)
        noise = torch.zeros_like(after)
        if t[0]:
            noise.normal_(generator=generator)
        return found.posterior(clean, after, t, noise)

    ancestral = denoise(step, normal(), 5)
    implicit = ddim(best, found, normal(), 5, torch.Generator().manual_seed(3), eta=1.0)
    torch.testing.assert_close(implicit.state, ancestral.state, rtol=1e-5, atol=1e-6)
    assert ancestral.nfe == implicit.nfe == 5 and best.calls == 10


def test_ancestral_sampling_draws_the_data() -> None:
    found, count = process(1000), 20_000
    best, generator = Best(found), torch.Generator().manual_seed(1)

    def step(after: Tensor, t: Tensor) -> Tensor:
        clean = found.clean_from(best(after, t), after, t)
        return found.posterior(
            clean, after, t, torch.empty_like(after).normal_(generator=generator)
        )

    drawn = denoise(step, normal(count), 1000).state
    assert drawn.var().item() == pytest.approx(VARIANCE, rel=0.04)


def test_a_hundred_steps_with_the_exact_noise_draw_25_gaussians() -> None:
    """E[ε | x] of a mixture: what the diffusion model of the study lacks is not its sampler's."""
    found, points = process(1000), density("25-gaussians")
    assert isinstance(points, GaussianGrid)
    scale = 4.745  # the study's
    centres, sigma = points.centres / scale, points.sigma / scale

    def noise_of(after: Tensor, t: Tensor) -> Tensor:
        signal, noise = found.signal[t[0] + 1], found.noise[t[0] + 1]
        variance = (signal * sigma).square() + noise.square()
        distances = (after[:, None] - signal * centres).square().sum(dim=2)
        nearby = (-0.5 * distances / variance).softmax(dim=1) @ centres
        return noise * (after - signal * nearby) / variance

    generator = torch.Generator().manual_seed(0)
    start = torch.randn(2000, 2, generator=generator).double()
    drawn = ddim(noise_of, found, start, 100, generator, eta=1.0).state * scale
    coverage = mode_coverage(drawn, points.centres, points.sigma)
    assert coverage.modes == 25
    assert coverage.high_quality_fraction > 0.99


def test_what_is_kept_is_what_was_passed() -> None:
    denoised = denoise(lambda after, t: after - 1.0, torch.full((2, 1), 4.0), 4, keep=(4, 2, 0))
    assert [kept[0, 0].item() for kept in denoised.along] == [4.0, 2.0, 0.0]
    assert denoise(lambda after, t: after - 1.0, torch.ones(2, 1), 0).nfe == 0


def test_ddim_visits_even_times() -> None:
    assert chosen_times(process(1000), 4) == [1000, 750, 500, 250, 0]
    for steps in (0, 6):
        with pytest.raises(UserError, match="ddim takes 1 to 5 steps here"):
            chosen_times(process(5), steps)
    with pytest.raises(UserError, match="2 steps or more"):
        probability_flow(lambda x, t: x, process(1), normal(), 1e-3)
