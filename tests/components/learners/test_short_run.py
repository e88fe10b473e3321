"""Learning an energy through its sampler: gradients that are known, and what is kept of them."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from components.datasets.loading import Batch
from components.errors import UserError
from components.learners.computing import Computing
from components.learners.optimisation import Schedule
from components.learners.short_run import ShortRunLearner, ShortRunSettings
from components.models.build import seeded
from components.models.short_run import ShortRunEBM, Start
from components.samplers.langevin import LangevinSettings
from components.samplers.replay_buffer import ReplayBuffer

PLAIN = {"betas": (0.9, 0.999), "weight_decay": 0.0, "clip_deviations": None, "ema": 0.0}
CPU = Computing(torch.device("cpu"))
FREE = LangevinSettings(4, 0.3, noise_scale=0.0)
STIFFNESS, CENTRE = 1.5, -0.4
POINTS = {
    "kind": "short-run-ebm",
    "shape": [2],
    "energy": {"kind": "fully-connected", "hidden": [6, 5], "normalisation": "weight"},
    "langevin": {"steps": 3, "step_size": 0.3, "noise_scale": 0.1},
    "start": {"law": "normal", "scale": 1.0},
}
IMAGES = {
    "kind": "short-run-ebm",
    "shape": [1, 8, 8],
    "energy": {"kind": "conv", "width": 4, "multipliers": [1, 2]},
    "langevin": {"steps": 3, "step_size": 0.1, "noise_scale": 0.1},
    "start": {"law": "normal", "scale": 1.0},
}


class Quadratic(nn.Module):
    """E(x) = a/2 · |x - m|²."""

    def __init__(self) -> None:
        super().__init__()
        self.stiffness = nn.Parameter(torch.tensor(STIFFNESS))
        self.centre = nn.Parameter(torch.tensor(CENTRE))

    def forward(self, x: Tensor) -> Tensor:
        return 0.5 * self.stiffness * (x - self.centre).square().sum(1)


def quadratic(langevin: LangevinSettings = FREE) -> ShortRunEBM:
    return ShortRunEBM(Quadratic(), (1,), langevin, Start())


def data(count: int, dim: int = 1, seed: int = 0) -> Batch:
    noise = torch.randn(count, dim, generator=torch.Generator().manual_seed(seed))
    return Batch(1.0 + 0.7 * noise, None)


def images(count: int, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    return Batch(torch.randint(0, 256, (count, 1, 8, 8), generator=generator).byte(), None)


def learner(
    model: nn.Module,
    replay: ReplayBuffer | None = None,
    seed: int = 0,
    rate: float = 0.01,
    optimiser: dict | None = None,
    computing: Computing = CPU,
    **changes: Any,
) -> ShortRunLearner:
    assert isinstance(model, ShortRunEBM)
    plain = {"generator_weight": 0.0, "checkpoint": False, "energy_magnitude": 0.0, "max_gap": 10.0}
    settings = ShortRunSettings(**{**plain, **changes})
    schedule, chosen = Schedule(rate, 0, "constant", 100), {**PLAIN, **(optimiser or {})}
    return ShortRunLearner(model, settings, schedule, chosen, replay, seed, computing)


def starts(model: ShortRunEBM, count: int, seed: int = 0) -> Tensor:
    """What a learner of that seed starts its first chains from."""
    return model.noise(count, torch.Generator().manual_seed(seed))


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


def test_energy_magnitude_is_penalised():
    model, other = quadratic(), quadratic()
    learner(model, energy_magnitude=0.2).training_step(data(50), 0)
    plain = learner(other).training_step(data(50), 0)
    x, chains = data(50).x - CENTRE, starts(other, 50) - CENTRE
    chains = (1.0 - 0.15 * STIFFNESS) ** 4 * chains
    squares = torch.cat([x, chains]).square()
    extra = 0.2 * (2.0 * 0.5 * squares * 0.5 * STIFFNESS * squares).mean()
    found = model.energy.stiffness.grad - other.energy.stiffness.grad
    torch.testing.assert_close(found, extra, rtol=1e-4, atol=1e-6)
    assert plain.keys() == {"loss", "energy_gap", "energy_data", "energy_chain", "gradient_norm"}


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_chains_go_on_from_the_buffer(weight):
    """Chains that hardly move stay at their starts: the second step's are the first step's ends."""
    model = ShortRunEBM(Quadratic(), (1,), LangevinSettings(1, 1e-12), Start("uniform", 3.0))
    replay = ReplayBuffer(8, (1,), 1.0, 0)
    taught = learner(model, replay, generator_weight=weight)
    taught.training_step(data(8), 0)
    first = replay.state_dict()["rows"]
    torch.testing.assert_close(first, starts(model, 8), rtol=0.0, atol=1e-5)
    taught.training_step(data(8), 1)
    second = replay.state_dict()["rows"]
    assert (second - first.T).abs().min(dim=1).values.max() < 1e-4
    assert not second.requires_grad


def test_bfloat16_keeps_weights_and_energies_in_float32():
    description = {**IMAGES, "langevin": {**IMAGES["langevin"], "autocast": "bfloat16"}}
    taught = learner(
        seeded(description, 0), generator_weight=1.0, computing=replace(CPU, precision="bfloat16")
    )
    exact = learner(seeded(IMAGES, 0), generator_weight=1.0)
    metrics, expected = taught.training_step(images(8), 0), exact.training_step(images(8), 0)
    assert all(value.dtype == torch.float32 for value in metrics.values())
    for found, wanted in zip(taught.updater.parameters, exact.updater.parameters, strict=True):
        assert found.dtype == found.grad.dtype == torch.float32
        torch.testing.assert_close(found.grad, wanted.grad, rtol=0.1, atol=0.01)
    torch.testing.assert_close(metrics["gradient_norm"], expected["gradient_norm"], rtol=0.05,
                               atol=0.0)  # fmt: skip


def test_preparation_normalises_the_energy_by_the_data():
    taught = learner(seeded(POINTS, 0), optimiser={"ema": 0.9})
    batch = data(64, 2)
    taught.prepare(batch)
    energies = taught.exported().energy(batch.x)
    torch.testing.assert_close(energies.mean(), torch.zeros(()), rtol=0.0, atol=1e-4)
    torch.testing.assert_close(energies.var(correction=0), torch.ones(()), rtol=1e-3, atol=0.0)


def test_divergence_is_told():
    taught = learner(quadratic(), max_gap=10.0)
    healthy = {"loss": -3.0, "energy_gap": 9.9, "gradient_norm": 1e6}
    assert taught.diverged(healthy) is None
    assert taught.diverged({**healthy, "energy_gap": -10.1}) == "energy gap -10.1 beyond 10 nats"
    assert taught.diverged({**healthy, "energy_gap": math.nan}) == "energy_gap not finite"
    taught.model.energy.centre.data.fill_(math.nan)
    metrics = {name: value.item() for name, value in taught.training_step(data(8), 0).items()}
    assert "not finite" in (taught.diverged(metrics) or "")


@pytest.mark.parametrize("weight", [0.0, 1.0])
@pytest.mark.parametrize("description", [POINTS, IMAGES])
def test_a_resumed_training_ends_the_same(assert_resumable, description, weight):
    shape = tuple(description["shape"])

    def make(seed: int) -> ShortRunLearner:
        return learner(
            seeded(description, 0),
            ReplayBuffer(20, shape, 0.8, 2),
            seed,
            optimiser={"weight_decay": 0.01, "clip_deviations": 1.0, "ema": 0.9},
            generator_weight=weight,
            checkpoint=True,
            energy_magnitude=0.1,
        )

    batches = [data(8, 2, seed) if len(shape) == 1 else images(8, seed) for seed in range(5)]
    assert_resumable(make, batches, 2)


# PyTorch hides this warning of its compiler's own from all but those who make warnings errors.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
def test_a_compiled_network_learns_the_same():
    """Though compiled code is not differentiated twice."""

    def learned(computing: Computing) -> ShortRunLearner:
        taught = learner(
            seeded(POINTS, 0), computing=computing, generator_weight=1.0, checkpoint=True
        )
        taught.prepare(data(8, 2))
        for step in range(3):
            taught.training_step(data(8, 2, step), step)
        return taught

    from torch._dynamo.utils import counters  # takes seconds

    counters.clear()
    compiled, eager = learned(replace(CPU, compile=True)), learned(CPU)
    assert counters["stats"]["unique_graphs"] > 0
    torch.testing.assert_close(
        dict(compiled.exported().state_dict()), dict(eager.exported().state_dict()),
        rtol=1e-3, atol=1e-5,
    )  # fmt: skip


def test_samplers_without_a_derivative_are_refused():
    adjusted = quadratic(LangevinSettings(2, 0.1, metropolis=True))
    with pytest.raises(UserError, match="set metropolis to false"):
        learner(adjusted, generator_weight=1.0)
    learner(adjusted).training_step(data(8), 0)
    spectral = {**POINTS, "energy": {**POINTS["energy"], "normalisation": "spectral"}}
    with pytest.raises(UserError, match="set checkpoint to false"):
        learner(seeded(spectral, 0), generator_weight=1.0, checkpoint=True)
    learner(seeded(spectral, 0), generator_weight=1.0).training_step(data(8, 2), 0)


@pytest.mark.parametrize(
    "wrong", [{"generator_weight": -1.0}, {"energy_magnitude": math.nan}, {"max_gap": 0.0}]
)
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(UserError, match=next(iter(wrong))):
        learner(quadratic(), **wrong)
