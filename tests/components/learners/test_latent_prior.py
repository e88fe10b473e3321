"""Learning a prior of frozen latents, by steps or at once."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from components.datasets.loading import Batch
from components.learners.computing import Computing
from components.learners.latent_prior import LatentPriorLearner
from components.learners.mixture import MixtureLearner, fit_mixture
from components.learners.optimisation import Optimisation, Schedule
from components.models.build import seeded
from components.models.latent_model import LatentModel

CPU = Computing(torch.device("cpu"))
PLAIN = {"betas": (0.9, 0.999), "weight_decay": 0.0, "clip_deviations": None, "ema": 0.9}
FLOW = {"kind": "flow", "hidden": 8, "blocks": 2}
VAE = {"kind": "vae", "hidden": [8]}


def model(prior: dict[str, Any], posterior: str) -> LatentModel:
    made = seeded(
        {
            "kind": "latent",
            "shape": [1, 8, 8],
            "latent": 4,
            "network": {"kind": "infogan", "width": 4, "hidden": 16},
            "posterior": {"kind": posterior},
            "prior": prior,
        },
        0,
    )
    assert isinstance(made, LatentModel)
    return made


def images(seed: int = 0, count: int = 32) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    return Batch(torch.randint(0, 256, (count, 1, 8, 8), generator=generator).byte(), None)


def learner(prior: dict[str, Any], seed: int = 0) -> LatentPriorLearner:
    how = Optimisation(Schedule(0.01, 0, "constant", 100), PLAIN)
    # A flow could learn little of latents that noise has made all but standard normal.
    posterior = "point" if prior["kind"] == "flow" else "gaussian"
    return LatentPriorLearner(model(prior, posterior), how, seed, CPU)


@pytest.mark.parametrize("prior", [FLOW, VAE], ids=["flow", "vae"])
def test_the_prior_learns_and_nothing_else(assert_resumable, prior: dict[str, Any]) -> None:
    taught = learner(prior)
    before = {name: value.clone() for name, value in taught.model.state_dict().items()}
    seen = [taught.training_step(images(), step)["nll"].item() for step in range(60)]
    assert sum(seen[-5:]) < sum(seen[:5]) - 1.0
    after, exported = taught.model.state_dict(), taught.exported().state_dict()
    for name, value in before.items():
        if not name.startswith("prior."):
            assert torch.equal(after[name], value) and torch.equal(exported[name], value), name
    assert_resumable(lambda seed: learner(prior, seed), [images(seed) for seed in range(4)], 2)


def test_a_prior_without_gradients_is_refused() -> None:
    with pytest.raises(ValueError, match="NormalPrior is not learned"):
        learner({"kind": "normal"})
    with pytest.raises(ValueError, match="LatentFlow is no mixture"):
        MixtureLearner(model(FLOW, "point"), images().x, 10, 0, CPU)


def test_a_known_mixture_is_found() -> None:
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(4000, 2, generator=generator)
    second = torch.rand(4000, generator=generator) < 0.3
    z = torch.where(second[:, None], 0.5 * z + torch.tensor([6.0, 0.0]), z)
    found = fit_mixture(z, 2, 100, seed=0)
    order = sorted(range(2), key=lambda k: found.weights[k])
    assert [found.weights[k] for k in order] == pytest.approx([0.3, 0.7], abs=0.03)
    means = torch.tensor([found.means[k] for k in order])
    torch.testing.assert_close(means, torch.tensor([[6.0, 0.0], [0.0, 0.0]]), rtol=0, atol=0.1)
    covariances = torch.tensor([found.covariances[k] for k in order])
    expected = torch.stack([0.25 * torch.eye(2), torch.eye(2)])
    torch.testing.assert_close(covariances, expected, rtol=0, atol=0.1)
    assert fit_mixture(z, 2, 100, seed=0) == found


def test_the_mixture_is_fitted_to_all_latents_in_one_step() -> None:
    items = images(count=300).x
    taught = MixtureLearner(model({"kind": "mixture", "components": 3}, "point"), items, 50, 0, CPU)
    seen = taught.training_step(Batch(items[:4], None), 0)
    filled = taught.exported()
    assert isinstance(filled, LatentModel)
    with torch.no_grad():
        nll = -filled.log_prior(filled.encode(items / 255.0)).mean()
    torch.testing.assert_close(nll, seen["nll"], rtol=1e-2, atol=1e-2)
    other = MixtureLearner(model({"kind": "mixture", "components": 3}, "point"), items, 50, 1, CPU)
    other.load_state_dict(taught.state_dict())
    for name, value in filled.state_dict().items():
        assert torch.equal(other.exported().state_dict()[name], value), name
