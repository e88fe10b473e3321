"""What generative latent flow costs: beside its two parts, and beside the library pythae.

The network is InfoGAN's with the sizes of pipelines/latent_flow, in float32 on one thread. Ratios
are medians over pairs taken in turns, of processor time, which a busy neighbour lengthens far less
than the clock's.

pythae 0.1.2 (https://github.com/clementchadebec/benchmark_VAE) is no dependency; without it the
comparisons are skipped. It runs on this project's torch, NumPy and pydantic 2. It must be installed
beside them without its own dependencies, one of which, ``dataclasses`` (a backport for Python 3.6),
would stand before Python's own module on PYTHONPATH::

    pip install --target /tmp/pythae --no-deps pythae cloudpickle imageio
    PYTHONPATH=/tmp/pythae python -m pytest tests/benchmarks/test_latent_flow.py --benchmark-only -s
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from time import perf_counter, process_time
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from components.datasets.loading import Batch
from components.learners.computing import Computing
from components.learners.latent import LatentLearner, LatentObjective
from components.learners.optimisation import Halving, Optimisation, Schedule, Updater
from components.learners.reconstruction import squared
from components.models.build import seeded
from components.models.latent_flow import LatentFlow
from components.models.latent_model import LatentModel
from components.models.latent_priors import MixturePrior

LATENT, SIZE, BATCH, COUNT = 20, 28, 128, 10_000
ROUNDS, SAMPLING_ROUNDS = 31, 3
FLOW = {"kind": "flow", "blocks": 4, "hidden": 64}
pytestmark = pytest.mark.usefixtures("one_thread")
MIXTURE = {"kind": "mixture", "components": 10}
NORMAL = {"kind": "normal"}
HOW = Optimisation(
    Schedule(1e-3, 0, Halving(400), 800),
    {"betas": (0.9, 0.999), "weight_decay": 0.0, "clip_deviations": None, "ema": 0.0},
)


def made(posterior: str, prior: dict[str, Any]) -> LatentModel:
    model = seeded(
        {
            "kind": "latent",
            "shape": [1, SIZE, SIZE],
            "latent": LATENT,
            "network": {"kind": "infogan", "width": 32, "hidden": 512},
            "posterior": {"kind": posterior},
            "prior": prior,
        },
        0,
    )
    assert isinstance(model, LatentModel)
    return model


def images() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (BATCH, 1, SIZE, SIZE), generator=generator).byte()


def step_of(model: LatentModel, penalty: Any = "none") -> Callable[[], object]:
    learner = LatentLearner(
        model,
        LatentObjective(squared, 1.0, True, penalty, 0.5),
        HOW,
        HOW if isinstance(model.prior, LatentFlow) else None,
        None,
        0,
        Computing(torch.device("cpu")),
    )
    batch = Batch(images(), None)
    return lambda: learner.training_step(batch, 0)


def flow_step() -> Callable[[], object]:
    flow = LatentFlow(LATENT, hidden=64, blocks=4)
    updater = Updater(flow, HOW.schedule, **HOW.arguments)
    z = torch.randn(BATCH, LATENT, generator=torch.Generator().manual_seed(0))

    def run() -> None:
        updater.begin()
        updater.accumulate(-flow.log_prob(z).mean())
        updater.update(0)

    return run


def seconds(run: Callable[[], object]) -> float:
    start = process_time()
    run()
    return process_time() - start


def compare(
    benchmark: Any, ours: Callable[[], object], rounds: int, *others: Callable[[], object]
) -> None:
    """Record and print our time over that of the others together."""
    for run in (ours, *others):  # first calls allocate
        run()
    pairs = [(seconds(ours), sum(map(seconds, others))) for _ in range(rounds)]
    ratio = statistics.median(a / b for a, b in pairs)
    benchmark.extra_info["ratio"] = ratio
    print(f"\n{benchmark.name}: ratio {ratio:.3f}")
    benchmark.pedantic(ours, rounds=3)


def test_glf_step_costs_its_parts(benchmark: Any) -> None:
    """extra_info["ratio"]: GLF's step over the auto-encoder's and the flow's (1.05 is the aim)."""
    glf, bare = step_of(made("point", FLOW)), step_of(made("point", {"kind": "none"}))
    compare(benchmark, glf, ROUNDS, bare, flow_step())


@pytest.mark.parametrize("prior", [FLOW, MIXTURE, NORMAL], ids=lambda prior: prior["kind"])
def test_sampling_in_one_call(benchmark: Any, prior: dict[str, Any]) -> None:
    """extra_info["images_per_second"], by the clock."""
    model, generator = made("point", prior).eval(), torch.Generator().manual_seed(0)
    start = perf_counter()
    drawn = benchmark.pedantic(model.sample, args=(COUNT, generator), rounds=3)
    elapsed = (perf_counter() - start) / 3
    assert drawn.shape == (COUNT, 1, SIZE, SIZE)
    benchmark.extra_info["images_per_second"] = COUNT / elapsed
    print(f"\n{benchmark.name}: {elapsed:.2f} s, {COUNT / elapsed:.0f} images/s")


def theirs(kind: str, model: LatentModel) -> nn.Module:
    """Pythae's model, of networks like those of ours."""
    models = pytest.importorskip("pythae.models")
    base = pytest.importorskip("pythae.models.base.base_utils")
    networks = pytest.importorskip("pythae.models.nn")

    class Encoder(networks.BaseEncoder):
        def __init__(self) -> None:
            super().__init__()
            self.body = model.encoder

        def forward(self, x: Tensor) -> Any:
            codes = self.body(x)
            if model.posterior == "point":
                return base.ModelOutput(embedding=codes)
            mean, log_variance = codes.chunk(2, dim=1)
            return base.ModelOutput(embedding=mean, log_covariance=log_variance)

    class Decoder(networks.BaseDecoder):
        def __init__(self) -> None:
            super().__init__()
            self.body = model.decoder

        def forward(self, z: Tensor) -> Any:
            return base.ModelOutput(reconstruction=torch.sigmoid(self.body(z)))

    config, wanted = {
        "vae": (models.VAEConfig, models.VAE),
        "rae": (models.RAE_L2_Config, models.RAE_L2),
    }[kind]
    settings = config(input_dim=(1, SIZE, SIZE), latent_dim=LATENT)
    built: nn.Module = wanted(settings, encoder=Encoder(), decoder=Decoder())
    return built


def their_step(model: nn.Module) -> Callable[[], object]:
    """As in pythae's `BaseTrainer.train_step`.

    RAE_L2 too, with one backward pass: the trainer that pythae itself takes for it does two.
    """
    adam = torch.optim.Adam(model.parameters(), lr=1e-3)
    x = images().float() / 255

    def run() -> None:
        model.train()
        loss = model({"data": x}).loss
        adam.zero_grad()
        loss.backward()
        adam.step()
        loss.item()

    return run


@pytest.mark.parametrize("kind", ["vae", "rae"])
def test_step_beside_pythae(benchmark: Any, kind: str) -> None:
    """extra_info["ratio"]: our step's time over pythae's; ours takes uint8 images."""
    posterior, prior, penalty = {
        "vae": ("gaussian", NORMAL, "none"),
        "rae": ("point", MIXTURE, "norm"),
    }[kind]
    other = their_step(theirs(kind, made(posterior, prior)))
    compare(benchmark, step_of(made(posterior, prior), penalty), ROUNDS, other)


@pytest.mark.parametrize("law", ["mixture", "maf", "iaf"])
def test_sampling_beside_pythae(benchmark: Any, law: str) -> None:
    """extra_info["ratio"]: time of 10,000 images by our mixture or flow over pythae's law."""
    samplers = pytest.importorskip("pythae.samplers")
    ours = made("point", MIXTURE if law == "mixture" else FLOW).eval()
    other = theirs("rae", ours).eval()
    if law == "mixture":
        config = samplers.GaussianMixtureSamplerConfig(n_components=10)
        sampler = samplers.GaussianMixtureSampler(other, config)
        x = torch.rand(2000, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
        x[0] = 1.0  # pythae wants the whole range
        sampler.fit(x)
        fitted = (sampler.gmm.weights_, sampler.gmm.means_, sampler.gmm.covariances_)
        assert isinstance(ours.prior, MixturePrior)
        ours.prior.fill(*map(torch.as_tensor, fitted))
    else:
        # Fresh weights: the time does not depend on them, and `fit` would train for many minutes.
        sampler = getattr(samplers, f"{law.upper()}Sampler")(other)
        setattr(sampler, f"{law}_model", sampler.flow_contained_model.flow.eval())
        sampler.is_fitted = True
    generator = torch.Generator().manual_seed(0)
    compare(
        benchmark,
        lambda: ours.sample(COUNT, generator),
        SAMPLING_ROUNDS,
        lambda: sampler.sample(COUNT),
    )
