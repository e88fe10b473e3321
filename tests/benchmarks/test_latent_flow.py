"""Latent models: what the flow adds to an auto-encoder's step, and the same beside `pythae`.

The comparison wants `pip install pythae` (0.1.2 here), which is no dependency of this project, and
is left out without it. Both sides train the networks of Table 3.6 at half their width, in float32,
on one thread, by turns; a ratio above 1 means that ours is slower.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from time import perf_counter
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from components.datasets.loading import Batch
from components.images import to_unit
from components.learners.computing import Computing
from components.learners.latent import LatentLearner, LatentObjective, Optimisation
from components.learners.mixture import fit_mixture
from components.learners.optimisation import Schedule
from components.learners.reconstruction import squared
from components.models.build import seeded
from components.models.latent_flow import LatentFlow
from components.models.latent_model import LatentModel
from components.models.latent_priors import MixturePrior

LATENT, BATCH, ROUNDS, COUNT = 20, 128, 15, 10_000
RATE = 1e-3
FLOW = {"kind": "flow", "blocks": 4, "hidden": 64}
ADAM = {"betas": (0.9, 0.999), "weight_decay": 0.0, "clip_deviations": None, "ema": 0.0}
HERE = Computing(torch.device("cpu"), precision="float32", parts=1, compile=False, pinned=False)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def images() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (BATCH, 1, 28, 28), generator=generator, dtype=torch.uint8)


def model(posterior: str, prior: dict[str, Any]) -> LatentModel:
    network = {"kind": "infogan", "width": 32, "hidden": 512}
    shape = {"shape": [1, 28, 28], "latent": LATENT, "network": network}
    made = seeded({"kind": "latent", **shape, "posterior": {"kind": posterior}, "prior": prior}, 0)
    assert isinstance(made, LatentModel)
    return made


def step_of(made: LatentModel, images: Tensor, penalty: str = "none") -> Callable[[], None]:
    """A training step of ours."""
    by_adam = Optimisation(Schedule(RATE, 0, "constant", 1), ADAM)
    flow = isinstance(made.prior, LatentFlow)
    objective = LatentObjective(squared, 1.0, flow, penalty, 0.5)
    learner = LatentLearner(made, objective, by_adam, by_adam if flow else None, None, 0, HERE)
    batch = Batch(images, None)
    return lambda: learner.training_step(batch, 0) and None


def flow_step() -> Callable[[], None]:
    """A step of the flow alone, on latents that are there."""
    flow = LatentFlow(LATENT, 64, 4)
    adam = torch.optim.Adam(flow.parameters(), RATE, foreach=True)
    z = torch.randn(BATCH, LATENT, generator=torch.Generator().manual_seed(0))

    def step() -> None:
        adam.zero_grad(set_to_none=True)
        (-flow.log_prob(z).mean()).backward()
        adam.step()

    return step


def seconds(run: Callable[[], Any]) -> float:
    start = perf_counter()
    run()
    return perf_counter() - start


def ratio(ours: Callable[[], Any], *others: Callable[[], Any], rounds: int = ROUNDS) -> float:
    """Median of our time over that of the others together, taken in turns."""
    for run in (ours, *others):
        run()
    pairs = [(seconds(ours), sum(seconds(other) for other in others)) for _ in range(rounds)]
    return statistics.median(a / b for a, b in pairs)


def test_glf_step_is_the_auto_encoders_and_the_flows(benchmark, images: Tensor) -> None:
    """extra_info["ratio"]: of the joint step over the two apart (1.05 is the aim)."""
    joint = step_of(model("point", FLOW), images)
    apart = step_of(model("point", {"kind": "none"}), images)
    benchmark.extra_info["ratio"] = ratio(joint, apart, flow_step())
    benchmark.pedantic(joint, rounds=3)


def test_sampling_in_one_call(benchmark) -> None:
    made = model("point", FLOW).eval()
    benchmark.pedantic(lambda: made.sample(COUNT, torch.Generator().manual_seed(0)), rounds=3)


def theirs(kind: str, ours: LatentModel) -> Any:
    """A model of pythae with copies of our networks' layout, its defaults otherwise."""
    pytest.importorskip("pythae")
    from pythae.models import RAE_L2, VAE, RAE_L2_Config, VAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder

    class Encoder(BaseEncoder):
        def __init__(self, network: nn.Module) -> None:
            super().__init__()
            self.network = network

        def forward(self, x: Tensor) -> Any:
            codes = self.network(x)
            if kind == "rae":
                return ModelOutput(embedding=codes)
            mean, log_variance = codes.chunk(2, dim=1)
            return ModelOutput(embedding=mean, log_covariance=log_variance)

    class Decoder(BaseDecoder):
        def __init__(self, network: nn.Module) -> None:
            super().__init__()
            self.network = network

        def forward(self, z: Tensor) -> Any:
            return ModelOutput(reconstruction=torch.sigmoid(self.network(z)))

    config, made = (RAE_L2_Config, RAE_L2) if kind == "rae" else (VAEConfig, VAE)
    settings = config(input_dim=(1, 28, 28), latent_dim=LATENT)
    return made(settings, Encoder(ours.encoder), Decoder(ours.decoder))


@pytest.mark.parametrize("kind", ["vae", "rae"])
def test_step_beside_pythae(benchmark, images: Tensor, kind: str) -> None:
    """extra_info["ratio"]: of our step over one of pythae's, as its trainer makes it."""
    posterior, prior = ("gaussian", "normal") if kind == "vae" else ("point", "none")
    other = theirs(kind, model(posterior, {"kind": prior}).float())
    adam = torch.optim.Adam(other.parameters(), RATE)
    x = to_unit(images)

    def their_step() -> None:
        loss = other({"data": x}).loss
        adam.zero_grad()
        loss.backward()
        adam.step()

    penalty = "norm" if kind == "rae" else "none"
    our_step = step_of(model(posterior, {"kind": prior}), images, penalty)
    benchmark.extra_info["ratio"] = ratio(our_step, their_step)
    benchmark.pedantic(our_step, rounds=3)


@pytest.mark.parametrize("kind", ["mixture", "flow"])
def test_sampling_beside_pythae(benchmark, kind: str) -> None:
    """extra_info["ratio"]: of our 10,000 images over pythae's, from a mixture or a flow."""
    ours = model("point", FLOW).eval()
    other = theirs("rae", ours).eval()
    from pythae.samplers import GaussianMixtureSampler, GaussianMixtureSamplerConfig

    z = torch.randn(2000, LATENT, generator=torch.Generator().manual_seed(0))
    if kind == "mixture":
        prior = MixturePrior(LATENT, 10)
        found = fit_mixture(z, 10, 20, 0)
        prior.fill(*(torch.tensor(value, dtype=torch.float64) for value in found[:3]))
        ours.prior = prior
        sampler = GaussianMixtureSampler(other, GaussianMixtureSamplerConfig(n_components=10))
        from sklearn.mixture import GaussianMixture

        sampler.gmm = GaussianMixture(10, max_iter=20, random_state=0).fit(z.numpy())
        sampler.is_fitted = True
    else:
        from pythae.models.normalizing_flows import MAF, MAFConfig
        from pythae.samplers import MAFSampler, MAFSamplerConfig

        sampler = MAFSampler(other, MAFSamplerConfig(n_made_blocks=4, hidden_size=64))
        flow = MAF(MAFConfig(input_dim=(LATENT,), n_made_blocks=4, hidden_size=64)).eval()
        sampler.maf_model = flow
        sampler.is_fitted = True

    def our_draw() -> None:
        ours.sample(COUNT, torch.Generator().manual_seed(0))

    def their_draw() -> None:
        sampler.sample(num_samples=COUNT, batch_size=500, return_gen=True)

    with torch.no_grad():
        benchmark.extra_info["ratio"] = ratio(our_draw, their_draw, rounds=5)
    benchmark.pedantic(our_draw, rounds=3)
