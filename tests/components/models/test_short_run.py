"""An energy and its finite sampler: laws, maps and inverses that are known for quadratic ones."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import pytest
import torch

from components.errors import UserError
from components.models.build import seeded as seeded_model
from components.models.short_run import ShortRunEBM, Start
from components.samplers.langevin import LangevinSettings
from tests.components.quadratics import CENTRE, STIFFNESS, RoundBowl

COUNT = 100_000
FREE = LangevinSettings(5, 0.3, noise_scale=0.0)
NOISY = LangevinSettings(5, 0.3, noise_scale=0.5, temperature=2.0)
IMAGES = {
    "kind": "short-run-ebm",
    "shape": [1, 8, 8],
    "energy": {"kind": "conv", "width": 4, "multipliers": [1, 2, 2]},
    "langevin": {"steps": 4, "step_size": 0.5, "noise_scale": 0.1},
    "start": {"law": "normal", "scale": 1.0},
}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def points(langevin: LangevinSettings = FREE, start: Start = Start()) -> ShortRunEBM:  # noqa: B008
    return ShortRunEBM(RoundBowl(), (2,), langevin, start)


def images() -> ShortRunEBM:
    model = seeded_model(IMAGES, 0)
    assert isinstance(model, ShortRunEBM)
    return model


@pytest.mark.parametrize(
    ("start", "deviation", "kurtosis"),
    [(Start(), 1.0, 3.0), (Start("normal", 0.5), 0.5, 3.0), (Start("uniform", 3.0), 3**0.5, 1.8)],
)
def test_starts_have_their_law(start, deviation, kurtosis):
    x = points(start=start).noise(COUNT, seeded())
    assert x.shape == (COUNT, 2) and x.dtype == torch.float32
    assert abs(x.mean().item()) < 0.02
    assert x.std().item() == pytest.approx(deviation, rel=0.01)
    assert ((x / x.std()) ** 4).mean().item() == pytest.approx(kurtosis, rel=0.03)
    if start.law == "uniform":
        assert x.abs().max() <= start.scale


@pytest.mark.parametrize("settings", [FREE, NOISY])
def test_samples_have_the_law_of_the_recursion(settings):
    """x ← m + r (x - m) + √(ητ) ω, r = 1 - ηa/2, K times from N(0, 1)."""
    found = points(settings).sample(COUNT, seeded())
    r = 1.0 - 0.5 * settings.step_size * STIFFNESS
    grown = sum(r ** (2 * k) for k in range(settings.steps))
    noise = settings.step_size * settings.temperature * settings.noise_scale**2
    variance = r ** (2 * settings.steps) + noise * grown
    mean = CENTRE * (1.0 - r**settings.steps)
    assert found.items.mean().item() == pytest.approx(mean, abs=0.01)
    assert found.items.var().item() == pytest.approx(variance, rel=0.015)
    assert torch.equal(found.items, found.state) and found.acceptance is None


def test_images_move_in_a_range_of_minus_one_to_one():
    """Of E in an image's own units a state's gradient is half as large, and its steps twice."""
    model = ShortRunEBM(RoundBowl(), (1, 2, 2), FREE, Start())
    x = torch.rand(3, 1, 2, 2, generator=seeded())
    torch.testing.assert_close(model.to_items(model.to_state(x)), x)
    assert model.to_state(torch.tensor([0.0, 0.5, 1.0])).tolist() == [-1.0, 0.0, 1.0]
    start = model.noise(3, seeded())
    torch.testing.assert_close(model.potential(start), model.energy(0.5 * start + 0.5))
    found = model.generate(start, seeded(), keep=[0])
    r = 1.0 - 0.5 * FREE.step_size * STIFFNESS / 4.0
    goal = 2.0 * CENTRE - 1.0
    torch.testing.assert_close(found.state, goal + r**5 * (start - goal))
    torch.testing.assert_close(found.items, 0.5 * found.state + 0.5)
    torch.testing.assert_close(found.along[0], 0.5 * start + 0.5)


def test_samples_are_generated_from_noise():
    model, generator, other = images(), seeded(), seeded()
    found = model.sample(6, generator, keep=[4, 0])
    expected = model.generate(model.noise(6, other), other)
    assert torch.equal(found.items, expected.items)
    assert torch.equal(found.along[0], model.to_items(model.noise(6, seeded())))
    assert torch.equal(found.along[1], found.items)


def test_another_chain_may_be_tried():
    model = points()
    longer = replace(FREE, steps=50)
    found = model.sample(10, seeded(), longer)
    torch.testing.assert_close(found.items, torch.full((10, 2), CENTRE), rtol=0.0, atol=1e-4)
    assert model.langevin == FREE
    adjusted = model.sample(10, seeded(), replace(NOISY, metropolis=True))
    assert adjusted.acceptance is not None and adjusted.acceptance.shape == (10,)


@pytest.mark.parametrize("checkpoint", [False, True])
@pytest.mark.parametrize("normalisation", ["none", "weight"])
def test_the_unrolled_chain_generates_the_same(checkpoint, normalisation):
    description = copy.deepcopy(IMAGES)
    description["energy"]["normalisation"] = normalisation
    model = seeded_model(description, 0)
    start = model.noise(5, seeded())
    end = model.unroll(start, seeded(1), checkpoint)
    assert end.requires_grad
    torch.testing.assert_close(end.detach(), model.generate(start, seeded(1)).state)
    end.square().sum().backward()
    # The head's bias moves no chain.
    still = {name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()}
    assert still == {"energy.head.linear.bias"}


def test_weights_that_are_computed_are_computed_once_a_chain():
    description = copy.deepcopy(IMAGES)
    description["energy"]["normalisation"] = "weight"
    model, calls = seeded_model(description, 0), []
    hook = (
        model.energy.body[0]
        .parametrizations.weight[0]
        .register_forward_hook(lambda *_: calls.append(1))
    )
    model.unroll(model.noise(2, seeded()), seeded())
    hook.remove()
    assert len(calls) == 1


def test_sampling_leaves_the_network_as_it_is():
    model = images().train()
    before = copy.deepcopy(model.state_dict())
    found = model.sample(8, seeded(), keep=[0])
    inverted = model.reconstruct(found.items, seeded(), 2, 0.1)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    results = (found.items, found.state, *found.along, *inverted)
    assert not any(t.requires_grad for t in results)


def test_interpolation_goes_from_the_second_start_to_the_first():
    model = points()
    first, second = model.noise(4, seeded()), model.noise(4, seeded(1))
    ratios = torch.tensor([0.0, 0.6, 1.0])
    found = model.interpolate(first, second, ratios, seeded())
    assert found.shape == (3, 4, 2)
    starts = (second, 0.6 * first + 0.8 * second, first)
    for items, start in zip(found, starts, strict=True):
        torch.testing.assert_close(items, model.generate(start, seeded()).items)


def test_interpolated_starts_keep_their_law():
    model = points()
    first, second = model.noise(COUNT, seeded()), model.noise(COUNT, seeded(1))
    found = model.interpolate(first, second, torch.tensor([0.5]), seeded())
    r = 1.0 - 0.5 * FREE.step_size * STIFFNESS
    assert found.std().item() == pytest.approx(r**FREE.steps, rel=0.01)


def test_uniform_starts_are_not_interpolated():
    model = points(start=Start("uniform", 1.0))
    with pytest.raises(UserError, match="normal, not uniform"):
        model.interpolate(torch.zeros(1, 2), torch.zeros(1, 2), torch.ones(1), seeded())


@pytest.mark.parametrize("checkpoint", [False, True])
def test_reconstruction_finds_the_start_of_a_point(checkpoint):
    """The inverse of x_K = m + r^K (x_0 - m), whatever noise the sampler itself has."""
    x = torch.randn(6, 2, generator=seeded(3))
    found = points(NOISY).reconstruct(x, seeded(), 300, 0.3, checkpoint)
    r = 1.0 - 0.5 * NOISY.step_size * STIFFNESS
    expected = CENTRE + (x - CENTRE) / r**NOISY.steps
    torch.testing.assert_close(found.start, expected, rtol=0.0, atol=0.01)
    torch.testing.assert_close(found.result, x, rtol=0.0, atol=0.01)
    assert found.error.max() < 1e-4


def test_reconstruction_recovers_images_of_the_samplers_own_range():
    model = images()
    model.langevin = replace(model.langevin, noise_scale=0.0)
    # An energy with a gradient that moves images by much more than the error allowed.
    model.energy.head.linear.weight.data.mul_(300.0)
    found = model.sample(4, seeded(7), keep=[0])
    moved = (found.items - found.along[0]).square().mean().item()
    inverse = model.reconstruct(found.items, seeded(), 200, 0.1)
    assert inverse.error.max() < 1e-5 * moved
    again = model.generate(inverse.start, seeded())
    torch.testing.assert_close(again.items, inverse.result)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"law": "cauchy"}, "known: normal, uniform"),
        ({"scale": 0.0}, "must be positive"),
        ({"scale": math.inf}, "must be positive"),
    ],
)
def test_wrong_starts_are_refused(wrong, said):
    with pytest.raises(UserError, match=said):
        Start(**wrong)
