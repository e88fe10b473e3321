"""The objective of short-run EBMs: its gradients against known ones, and what they lead to."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.func import functional_call

from components.models.build import seeded
from components.models.short_run import ShortRunEBM
from components.samplers.langevin import LangevinSettings
from tests.components.learners.short_runs import (
    FREE,
    IMAGES,
    POINTS,
    data,
    images,
    learner,
    quadratic,
    starts,
)
from tests.components.quadratics import CENTRE, STIFFNESS


@pytest.mark.parametrize("settings", [FREE, LangevinSettings(4, 0.3, noise_scale=0.5)])
def test_likelihood_gradient_is_that_of_both_phases(settings):
    """Eq. 5.1 in expectation: ∂E/∂a = (x - m)²/2, ∂E/∂m = -a (x - m), of the chains' known law."""
    model, count = quadratic(settings), 100_000
    batch = data(count)
    metrics = learner(model).training_step(batch, 0)
    r = 1.0 - 0.5 * settings.step_size * STIFFNESS
    grown = sum(r ** (2 * k) for k in range(settings.steps))
    # Of x - m at the end of a chain from N(0, 1).
    mean = -CENTRE * r**settings.steps
    variance = r ** (2 * settings.steps) + settings.step_size * settings.noise_scale**2 * grown
    away = batch.x - CENTRE
    by_a = 0.5 * (away.square().mean().item() - mean**2 - variance)
    by_m = -STIFFNESS * (away.mean().item() - mean)
    assert model.energy.stiffness.grad.item() == pytest.approx(by_a, abs=0.01)
    assert model.energy.centre.grad.item() == pytest.approx(by_m, abs=0.02)
    # E is of the first degree in a.
    assert metrics["loss"].item() == pytest.approx(STIFFNESS * by_a, abs=0.015)
    torch.testing.assert_close(metrics["energy_gap"], -metrics["loss"])


@pytest.mark.parametrize("checkpoint", [False, True])
@pytest.mark.parametrize("weight", [1.0, 0.3])
def test_generator_loss_has_the_gradient_of_a_contraction(weight, checkpoint):
    """Eq. 5.14 by hand: x_K = m + r^K (x_0 - m), and a fixed E's slope there is a (x_K - m)."""
    model = quadratic()
    x_0, batch = starts(model, 50), data(50)
    taught = learner(model, generator_weight=weight, checkpoint=checkpoint)
    metrics = taught.training_step(batch, 0)
    eta, steps = FREE.step_size, FREE.steps
    r = 1.0 - 0.5 * eta * STIFFNESS
    away = r**steps * (x_0 - CENTRE)
    slope = STIFFNESS * away
    end_by_a = steps * r ** (steps - 1) * (-0.5 * eta) * (x_0 - CENTRE)
    end_by_m = 1.0 - r**steps
    x = batch.x - CENTRE
    by_a = (0.5 * (x.square() - away.square()) + weight * slope * end_by_a).mean()
    by_m = (-STIFFNESS * (x - away) + weight * slope * end_by_m).mean()
    torch.testing.assert_close(model.energy.stiffness.grad, by_a)
    torch.testing.assert_close(model.energy.centre.grad, by_m)
    # The value is that of maximum likelihood, whose oscillation around 0 is what is watched.
    loss = 0.5 * STIFFNESS * (x.square() - away.square()).mean()
    torch.testing.assert_close(metrics["loss"], loss)


@pytest.mark.parametrize("checkpoint", [False, True])
@pytest.mark.parametrize("description", [POINTS, IMAGES])
def test_gradients_are_stopped_where_the_objective_says(description, checkpoint):
    """Eq. 5.14 written out with parameters and constants in the place of sg(·)."""
    description = {**description, "langevin": {"steps": 3, "step_size": 0.3, "noise_scale": 0.0}}
    model = seeded(description, 0)
    assert isinstance(model, ShortRunEBM)
    of_points = len(model.shape) == 1
    batch = data(6, 2) if of_points else images(6)
    x = batch.x if of_points else batch.x / 255.0
    energy, parameters = model.energy, dict(model.energy.named_parameters())
    fixed = {name: p.detach().clone() for name, p in parameters.items()}

    def of(values: dict[str, Tensor], state: Tensor) -> Tensor:
        return functional_call(energy, values, (model.to_items(state),))

    def generated(values: dict[str, Tensor]) -> Tensor:
        state = starts(model, 6).requires_grad_()
        for _ in range(3):
            (slope,) = torch.autograd.grad(of(values, state).sum(), state, create_graph=True)
            state = state - 0.15 * slope
        return state

    data_term = functional_call(energy, parameters, (x,)).mean()
    likelihood = data_term - of(parameters, generated(fixed).detach()).mean()
    game = of(fixed, generated(parameters)).mean()

    def by(loss: Tensor) -> dict[str, Tensor]:
        found = torch.autograd.grad(loss, list(parameters.values()), materialize_grads=True)
        return dict(zip(parameters, found, strict=True))

    of_likelihood, of_game = by(likelihood), by(game)
    learner(model, generator_weight=1.0, checkpoint=checkpoint).training_step(batch, 0)
    for name, parameter in parameters.items():
        expected = of_likelihood[name] + of_game[name]
        torch.testing.assert_close(parameter.grad, expected, rtol=1e-3, atol=1e-6)
    # Else it would not be seen whether the generator's part is there.
    assert max(of_game[name].abs().max() for name in of_game) > 1e-4


def test_maximum_likelihood_does_not_differentiate_its_chains():
    model, other = quadratic(), quadratic()
    learner(model).training_step(data(50), 0)
    learner(other, generator_weight=1e-20).training_step(data(50), 0)
    for found, expected in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(found.grad, expected.grad)


def test_the_generator_learns_the_data():
    """Samples of a quadratic energy's descent come to have the data's mean and variance."""
    model = quadratic(LangevinSettings(5, 0.5, noise_scale=0.0))
    taught = learner(model, rate=0.1, optimiser={"ema": 0.9})
    for step in range(300):
        taught.training_step(data(500, seed=step), step)
    exported = taught.exported()
    assert isinstance(exported, ShortRunEBM) and exported.langevin == model.langevin
    samples = exported.sample(20_000, torch.Generator().manual_seed(9)).items
    assert samples.mean().item() == pytest.approx(1.0, abs=0.1)
    assert samples.std().item() == pytest.approx(0.7, abs=0.1)
