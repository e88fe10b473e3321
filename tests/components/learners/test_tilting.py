"""Learning an energy: its gradient, its warm start and its chains, on Gaussians."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from components.datasets.loading import Batch
from components.learners.computing import Computing
from components.learners.optimisation import Schedule
from components.learners.tilting import TiltingLearner, TiltingSettings
from components.models.build import seeded
from components.models.vae import VAE
from components.models.vaebm import VAEBM
from components.samplers.langevin import LangevinSettings
from components.samplers.replay_buffer import ReplayBuffer

PLAIN = {"betas": (0.9, 0.999), "weight_decay": 0.0, "clip_deviations": None, "ema": 0.0}
BASE_MEAN, BASE_DEVIATION = torch.tensor([0.5, -0.5]), 1.5
DATA_MEAN, DATA_DEVIATION = torch.tensor([1.0, 0.0]), torch.tensor([1.0, 1.2])
CPU = Computing(torch.device("cpu"))


class Constant(nn.Module):
    """A decoder without use of z: the base is N(mean, σ² I)."""

    def forward(self, z: Tensor) -> Tensor:
        return BASE_MEAN.expand(len(z), 2)


class Quadratic(nn.Module):
    """f(x) = Σ (aᵢ xᵢ² + bᵢ xᵢ) + c, 0 at first."""

    def __init__(self) -> None:
        super().__init__()
        self.square, self.linear = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2))
        self.constant = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        return x.square() @ self.square + x @ self.linear + self.constant


def gaussian_base() -> VAE:
    base = VAE(nn.Linear(2, 2), Constant(), 1, (2,), "gaussian")
    base.log_sigma.data.fill_(math.log(BASE_DEVIATION))
    return base


def log_ratio(x: Tensor) -> Tensor:
    """log p_data / p_base."""
    data = torch.distributions.Normal(DATA_MEAN, DATA_DEVIATION).log_prob(x)
    return (data - torch.distributions.Normal(BASE_MEAN, BASE_DEVIATION).log_prob(x)).sum(1)


def data(count: int, seed: int = 0) -> Batch:
    noise = torch.randn(count, 2, generator=torch.Generator().manual_seed(seed))
    return Batch(DATA_MEAN + DATA_DEVIATION * noise, None)


def settings(**changes: Any) -> TiltingSettings:
    plain = {
        "langevin": LangevinSettings(5, 0.1),
        "energy_magnitude": 0.0,
        "spectral_penalty": 0.0,
        "warm_start_steps": 0,
        "warm_start_rate": 0.05,
        "warm_start_normaliser": False,
        "max_gap": 10.0,
    }
    return TiltingSettings(**{**plain, **changes})


def learner(
    model: VAEBM,
    replay: ReplayBuffer | None = None,
    seed: int = 0,
    rate: float = 0.01,
    optimiser: dict | None = None,
    computing: Computing = CPU,
    **changes: Any,
) -> TiltingLearner:
    schedule = Schedule(rate, 0, "constant", 100)
    chosen = {**PLAIN, **(optimiser or {})}
    return TiltingLearner(model, settings(**changes), schedule, chosen, replay, seed, computing)


POINTS = {
    "kind": "vaebm",
    "base": {
        "kind": "vae",
        "shape": [2],
        "latent": 2,
        "likelihood": "gaussian",
        "network": {"kind": "mlp", "hidden": [8], "input_scale": 1.0},
    },
    "energy": {"kind": "fully-connected", "hidden": [6, 5]},
    "space": "noise",
}
IMAGES = {
    "kind": "vaebm",
    "base": {
        "kind": "vae",
        "shape": [1, 8, 8],
        "latent": 3,
        "likelihood": "bernoulli",
        "network": {"kind": "dcgan", "width": 4, "depth": 2, "batch_norm": True},
    },
    "energy": {"kind": "strided", "filters": [4, 8], "normalisation": "weight"},
    "space": "noise",
}


def images(count: int, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    return Batch(torch.randint(0, 256, (count, 1, 8, 8), generator=generator).byte(), None)


@pytest.mark.parametrize(
    ("magnitude", "spectral"), [(0.0, 0.0), (0.7, 0.0), (0.0, 0.4), (0.3, 0.2)]
)
def test_gradient_is_that_of_data_less_that_of_chains_and_penalties(magnitude, spectral):
    """Eq. 4.17 by an independent way: two passes and singular values by decomposition."""
    taught = learner(
        seeded(POINTS, 3), rate=1e-30, energy_magnitude=magnitude, spectral_penalty=spectral
    )
    model = copy.deepcopy(taught.model)
    chain = model.sample(32, torch.Generator().manual_seed(0), LangevinSettings(5, 0.1)).items
    for step in range(30 if spectral else 0):  # lets the power iteration converge, at a rate of 0
        taught.training_step(data(32), step)
    taught.reseed(0)
    metrics = taught.training_step(data(32), 30)

    on_data, on_chain = model.energy(data(32).x), model.energy(chain)
    loss = on_data.mean() - on_chain.mean()
    squares = 0.5 * (on_data.square().mean() + on_chain.square().mean())
    layers = [m for m in model.energy.modules() if isinstance(m, nn.Linear)]
    norms = sum(torch.linalg.matrix_norm(layer.weight, ord=2) for layer in layers)
    (loss + magnitude * squares + spectral * norms).backward()
    for found, expected in zip(
        taught.model.energy.parameters(), model.energy.parameters(), strict=True
    ):
        torch.testing.assert_close(found.grad, expected.grad, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(metrics["loss"], loss.detach())
    torch.testing.assert_close(metrics["energy_gap"], -loss.detach())
    torch.testing.assert_close(metrics["energy_data"], on_data.mean().detach())
    torch.testing.assert_close(metrics["energy_chain"], on_chain.mean().detach())
    norm = torch.cat([p.grad.flatten() for p in model.energy.parameters()]).norm()
    torch.testing.assert_close(metrics["gradient_norm"], norm, rtol=1e-3, atol=1e-4)


def test_gradient_at_no_energy_is_the_difference_of_moments():
    """The chains of f = 0 have the base's law, and f is linear in its parameters."""
    chain = LangevinSettings(10, 0.5, metropolis=True)
    taught = learner(VAEBM(gaussian_base(), Quadratic()), langevin=chain)
    taught.training_step(data(100_000), 0)
    energy = taught.model.energy
    difference = DATA_MEAN**2 + DATA_DEVIATION**2 - BASE_MEAN**2 - BASE_DEVIATION**2
    torch.testing.assert_close(energy.square.grad, difference, rtol=0.0, atol=0.06)
    torch.testing.assert_close(energy.linear.grad, DATA_MEAN - BASE_MEAN, rtol=0.0, atol=0.03)
    assert energy.constant.grad.abs() < 1e-6


def test_gradient_vanishes_at_the_log_density_ratio():
    chain = LangevinSettings(40, 0.5, metropolis=True)
    model = VAEBM(gaussian_base(), Quadratic())
    with torch.no_grad():
        tight = 1.0 / DATA_DEVIATION**2 - 1.0 / BASE_DEVIATION**2
        model.energy.square.copy_(0.5 * tight)
        model.energy.linear.copy_(BASE_MEAN / BASE_DEVIATION**2 - DATA_MEAN / DATA_DEVIATION**2)
    taught = learner(model, langevin=chain)
    taught.training_step(data(50_000), 0)
    assert model.energy.square.grad.abs().max() < 0.05
    assert model.energy.linear.grad.abs().max() < 0.03


@pytest.mark.parametrize("ema", [0.0, 0.99])
def test_warm_start_reaches_the_log_density_ratio(ema):
    model = VAEBM(gaussian_base(), Quadratic())
    taught = learner(model, warm_start_steps=200, warm_start_rate=0.05, optimiser={"ema": ema})
    for step in range(200):
        metrics = taught.training_step(data(2000, step), step)
    x = data(500, 1000).x
    energy = taught.exported().energy
    difference = energy(x) + log_ratio(x)
    assert difference.abs().mean() < 0.06 < log_ratio(x).abs().mean() / 5.0
    # At the optimum the loss is that of the Bayes classifier, below that of no knowledge.
    assert metrics["loss"] < 2.0 * math.log(2.0) - 0.05


def test_likelihood_starts_where_the_warm_start_ends():
    """Its rate, its schedule and its average count from there, and its Adam is fresh."""
    model = VAEBM(gaussian_base(), Quadratic())
    taught = learner(model, warm_start_steps=20, rate=0.01, optimiser={"ema": 0.9})
    for step in range(20):
        taught.training_step(data(200, step), step)
    before = copy.deepcopy(model.energy.state_dict())
    average = taught.exported().energy
    assert torch.equal(average.square, model.energy.square)
    taught.training_step(data(200), 20)
    # Adam's first step has the length of its rate.
    step = model.energy.square.detach() - before["square"]
    torch.testing.assert_close(step.abs(), torch.full((2,), 0.01), rtol=1e-3, atol=0.0)
    # The average's first decay is 1/10.
    expected = 0.1 * before["square"] + 0.9 * model.energy.square.detach()
    torch.testing.assert_close(average.square, expected)


def test_chains_go_on_from_the_buffer():
    """Chains that hardly move stay at their starts: the second step's are the first step's ends."""
    replay = ReplayBuffer(8, (1,), 1.0, 0)
    still = LangevinSettings(1, 1e-12)
    taught = learner(VAEBM(gaussian_base(), Quadratic()), replay, langevin=still)
    taught.training_step(data(8), 0)
    first = replay.state_dict()["rows"]
    assert len(first) == 8 and first.std() > 0.1
    taught.training_step(data(8), 1)
    second = replay.state_dict()["rows"]
    distance = (second - first.T).abs().min(dim=1).values
    assert distance.max() < 1e-4


@pytest.mark.parametrize("warm_start_steps", [0, 2])
def test_the_base_and_its_statistics_are_left_alone(warm_start_steps):
    taught = learner(seeded(IMAGES, 0), warm_start_steps=warm_start_steps)
    before = copy.deepcopy(taught.model.state_dict())
    for step in range(2):
        taught.training_step(images(8), step)
    changed = {name for name, v in taught.model.state_dict().items() if not v.equal(before[name])}
    assert changed and all(name.startswith("energy.") for name in changed)


def test_preparation_normalises_the_energy_by_the_data():
    taught = learner(seeded(IMAGES, 0), optimiser={"ema": 0.9})
    batch = images(64)
    taught.prepare(batch)
    energies = taught.exported().energy(batch.x / 255.0)
    torch.testing.assert_close(energies.mean(), torch.zeros(()), rtol=0.0, atol=1e-4)
    torch.testing.assert_close(energies.var(correction=0), torch.ones(()), rtol=1e-3, atol=0.0)


def test_bfloat16_keeps_weights_and_energies_in_float32():
    taught = learner(
        seeded(IMAGES, 0), warm_start_steps=1, computing=replace(CPU, precision="bfloat16")
    )
    for step in range(2):
        metrics = taught.training_step(images(8), step)
        assert all(value.dtype == torch.float32 for value in metrics.values())
    assert all(p.dtype == torch.float32 for p in taught.model.parameters())


def test_divergence_is_told():
    taught = learner(VAEBM(gaussian_base(), Quadratic()), max_gap=10.0)
    healthy = {"loss": -3.0, "energy_gap": 9.9, "gradient_norm": 1e6}
    assert taught.diverged(healthy) is None
    assert taught.diverged({"loss": 1.0}) is None
    assert taught.diverged({**healthy, "loss": math.nan}) == "loss not finite"
    both = taught.diverged({**healthy, "loss": -math.inf, "gradient_norm": math.inf})
    assert both == "loss, gradient_norm not finite"
    for gap in (10.1, -10.1):
        assert taught.diverged({**healthy, "energy_gap": gap}) == (
            f"energy gap {gap} beyond 10 nats"
        )
    assert taught.diverged({**healthy, "energy_gap": math.nan}) == "energy_gap not finite"


def test_an_energy_that_breaks_is_seen_in_the_metrics():
    taught = learner(VAEBM(gaussian_base(), Quadratic()))
    taught.model.energy.linear.data.fill_(math.nan)
    metrics = {name: value.item() for name, value in taught.training_step(data(8), 0).items()}
    assert "not finite" in (taught.diverged(metrics) or "")


@pytest.mark.parametrize("stop", [1, 2, 4])
def test_a_resumed_training_ends_the_same(assert_resumable, stop):
    """Stopped in the warm start, at its end, and among the likelihood's steps."""

    def make(seed: int) -> TiltingLearner:
        return learner(
            seeded(IMAGES, 0),
            ReplayBuffer(20, (3,), 0.8, 2),
            seed,
            optimiser={"weight_decay": 0.01, "clip_deviations": 1.0, "ema": 0.9},
            energy_magnitude=0.1,
            spectral_penalty=0.1,
            warm_start_steps=2,
        )

    assert_resumable(make, [images(8, seed) for seed in range(6)], stop)


def test_spectral_penalty_draws_nothing_from_the_chains_stream():
    """A penalty of no weight must not change what the chains do."""

    def gap(penalty: float) -> Tensor:
        taught = learner(seeded(POINTS, 0), spectral_penalty=penalty)
        return taught.training_step(data(8), 0)["energy_gap"]

    assert torch.equal(gap(0.0), gap(1e-9))
