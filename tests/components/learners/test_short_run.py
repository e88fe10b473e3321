"""Learning short-run EBMs: buffers, number formats, resumption, divergence, refusals."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from components.errors import UserError
from components.learners.computing import Computing
from components.learners.short_run import ShortRunLearner
from components.models.build import seeded
from components.models.short_run import ShortRunEBM, Start
from components.samplers.langevin import LangevinSettings
from components.samplers.replay_buffer import ReplayBuffer
from tests.components.learners.short_runs import (
    CPU,
    IMAGES,
    POINTS,
    data,
    images,
    learner,
    quadratic,
    starts,
)
from tests.components.quadratics import CENTRE, STIFFNESS, RoundBowl


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
    model = ShortRunEBM(RoundBowl(), (1,), LangevinSettings(1, 1e-12), Start("uniform", 3.0))
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
@pytest.mark.slow
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
