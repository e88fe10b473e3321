"""Learning a VAE."""

from __future__ import annotations

import copy

import pytest
import torch

from components.datasets.loading import Batch
from components.learners.computing import Computing, Precision
from components.learners.elbo import ELBOLearner
from components.learners.optimisation import Schedule
from components.models.build import seeded
from components.models.vae import VAE

POINTS = {
    "kind": "vae",
    "shape": [2],
    "latent": 2,
    "likelihood": "gaussian",
    "network": {"kind": "mlp", "hidden": [16], "input_scale": 2.0},
}
IMAGES = {
    "kind": "vae",
    "shape": [1, 8, 8],
    "latent": 2,
    "likelihood": "bernoulli",
    "network": {"kind": "dcgan", "width": 4, "depth": 2, "batch_norm": True},
}
PLAIN = {"betas": (0.9, 0.999), "weight_decay": 0.0, "clip_deviations": None, "ema": 0.0}


def learner(
    description: dict,
    seed: int = 0,
    beta: float = 1.0,
    rate: float = 0.01,
    steps: int = 100,
    precision: Precision = "float32",
    **optimiser: float,
) -> ELBOLearner:
    return ELBOLearner(
        seeded(description, seed),
        beta,
        Schedule(rate, 2, "cosine", steps),
        {**PLAIN, **optimiser},
        seed,
        Computing(torch.device("cpu"), precision),
    )


def points(count: int, seed: int = 0) -> Batch:
    """A correlated Gaussian."""
    x = torch.randn(count, 2, generator=torch.Generator().manual_seed(seed))
    return Batch(x @ torch.tensor([[2.0, 1.0], [0.0, 0.5]]) + 1.0, None)


def images(count: int, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    return Batch(torch.randint(0, 256, (count, 1, 8, 8), generator=generator).byte(), None)


@pytest.mark.parametrize("beta", [1.0, 4.0])
def test_first_step_is_adams_along_the_bound(beta):
    """Adam's first step is the rate times the gradient's sign; its rate is half the peak here."""
    taught = learner(POINTS, beta=beta)
    model = copy.deepcopy(taught.model)
    batch = points(64)
    bound = model.bound(batch.x, torch.Generator().manual_seed(0), beta)
    (beta * bound.kl - bound.log_likelihood).mean().backward()
    metrics = taught.training_step(batch, 0)
    for found, start in zip(taught.model.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(found.grad, start.grad, rtol=1e-4, atol=1e-6)
        step = 0.005 * start.grad / (start.grad.abs() + 1e-8)
        torch.testing.assert_close(found.detach(), start.detach() - step, rtol=1e-4, atol=1e-5)
    for name in ("elbo", "log_likelihood", "kl"):
        torch.testing.assert_close(metrics[name], getattr(bound, name).mean().detach())
        assert not metrics[name].requires_grad


def test_learns_the_law_of_the_data():
    """A Gaussian is within reach of the model: the bound ends near minus the data's entropy."""
    taught = learner(POINTS, rate=0.02, steps=400)
    first = taught.training_step(points(512), 0)["elbo"].item()
    for step in range(1, 400):
        taught.training_step(points(512, step), step)
    x = points(2000, 1000).x
    found = taught.exported().log_prob_bound(x, 20, torch.Generator().manual_seed(0)).mean().item()
    law = torch.distributions.MultivariateNormal(
        torch.ones(2), torch.tensor([[4.0, 2.0], [2.0, 1.25]])
    )
    assert first < law.log_prob(x).mean().item() - 1.0
    assert found == pytest.approx(law.log_prob(x).mean().item(), abs=0.15)


def test_images_are_learned_in_the_range_of_the_model():
    taught = learner(IMAGES)
    batch = images(16)
    model = copy.deepcopy(taught.model).train()
    expected = model.bound(batch.x / 255.0, torch.Generator().manual_seed(0)).elbo.mean()
    found = taught.training_step(batch, 0)["elbo"]
    torch.testing.assert_close(found, expected.detach())


def test_bfloat16_is_of_the_passes_alone():
    taught, exact = learner(IMAGES, precision="bfloat16", ema=0.9), learner(IMAGES, ema=0.9)
    found = taught.training_step(images(16), 0)["elbo"]
    expected = exact.training_step(images(16), 0)["elbo"]
    assert found.dtype == torch.float32 and found != expected
    torch.testing.assert_close(found, expected, rtol=0.02, atol=0.0)
    floats = [v for v in taught.exported().state_dict().values() if v.is_floating_point()]
    assert all(value.dtype == torch.float32 for value in floats)


def test_the_average_is_exported_in_evaluation_mode():
    taught = learner(IMAGES, ema=0.9)
    taught.training_step(images(16), 0)
    taught.training_step(images(16), 1)
    exported = taught.exported()
    assert isinstance(exported, VAE) and exported is not taught.model
    assert not any(module.training for module in exported.modules())
    name = "decoder.body.0.weight"
    assert not torch.equal(exported.state_dict()[name], taught.model.state_dict()[name])
    # Without an average the model goes back to learning after it has been exported.
    plain = learner(IMAGES)
    plain.training_step(images(16), 0)
    assert not plain.exported().training
    plain.training_step(images(16), 1)
    assert plain.model.training


@pytest.mark.parametrize("stop", [1, 3])
def test_a_resumed_training_ends_the_same(assert_resumable, stop):
    def make(seed: int) -> ELBOLearner:
        return learner(IMAGES, seed, weight_decay=0.01, clip_deviations=1.0, ema=0.9)

    assert_resumable(make, [images(16, seed) for seed in range(5)], stop)


def test_reseeding_takes_another_stream():
    def run(seed: int | None) -> torch.Tensor:
        taught = learner(POINTS)
        if seed is not None:
            taught.reseed(seed)
        return taught.training_step(points(16), 0)["elbo"]

    assert run(None) == run(0) != run(1)
