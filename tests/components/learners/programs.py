"""What two workers do for the tests of parallel learning; run as a script by each of them.

The functions that the tests call themselves, for one worker, take all rows of a batch; a worker
takes its half.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from components.datasets.loading import Batch
from components.learners import parallel
from components.learners.batch_norm import share_batch_norms
from components.learners.classification import ClassificationLearner
from components.learners.computing import Computing, Precision
from components.learners.elbo import ELBOLearner
from components.learners.learner import Learner
from components.learners.optimisation import Schedule
from components.learners.tilting import TiltingLearner, TiltingSettings
from components.models.build import seeded
from components.models.vae import VAE
from components.models.vaebm import VAEBM
from components.samplers.langevin import LangevinSettings
from components.samplers.replay_buffer import ReplayBuffer

WHOLE = slice(None)
HALVES = (slice(0, 4), slice(4, 8))
DRAWS = 400
OPTIMISER = {"betas": (0.9, 0.999), "weight_decay": 0.0, "clip_deviations": None, "ema": 0.0}
CLASSIFIER = {"kind": "classifier", "shape": [1, 8, 8], "classes": 3, "width": 4, "dropout": 0.0}
POINTS_VAE = {
    "kind": "vae",
    "shape": [2],
    "latent": 2,
    "likelihood": "gaussian",
    "network": {"kind": "mlp", "hidden": [8], "input_scale": 1.0},
}
POINTS_VAEBM = {
    "kind": "vaebm",
    "base": POINTS_VAE,
    "energy": {"kind": "fully-connected", "hidden": [6, 5], "normalisation": "weight"},
    "space": "noise",
}


def gradients(rank: int) -> list[Tensor | None]:
    """Of three parameters; the second has none on worker 1, the third on neither."""
    generator = torch.Generator().manual_seed(rank)
    first = torch.randn(2, 3, 4, 4, generator=generator).to(memory_format=torch.channels_last)
    return [first, torch.full((5,), 6.0) if rank == 0 else None, None]


def averaged(rank: int) -> list[Tensor | None]:
    parameters = [nn.Parameter(torch.zeros(size)) for size in ((2, 3, 4, 4), (5,), (2,))]
    parameters[0].data = parameters[0].data.to(memory_format=torch.channels_last)
    for parameter, gradient in zip(parameters, gradients(rank), strict=True):
        parameter.grad = gradient
    # Smaller than the first: two buckets, of which the second holds two gradients.
    whole, parallel.BUCKET_ELEMENTS = parallel.BUCKET_ELEMENTS, 50
    parallel.average_gradients(parameters)
    parallel.BUCKET_ELEMENTS = whole
    return [parameter.grad for parameter in parameters]


def broadcast(rank: int) -> dict[str, Tensor]:
    torch.manual_seed(rank)
    module = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3))
    module.to(memory_format=torch.channels_last)
    module[1].running_mean.fill_(rank + 1.0)
    module[1].num_batches_tracked.fill_(rank + 1)
    parallel.broadcast_module(module)
    return module.state_dict()


def first_says(rank: int) -> dict[str, Any]:
    """What is passed round, and on which worker it was made."""
    made: list[int] = []

    def make() -> tuple[dict[str, float], float | None]:
        made.append(rank)
        return {"score": rank + 0.5}, None

    return {"found": parallel.of_first(make, torch.device("cpu")), "made": made}


def normalised(rows: slice) -> dict[str, Any]:
    """A critic with batch norm: its output, and gradients through a gradient penalty."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3, bias=False),
        nn.BatchNorm2d(4),
        nn.SiLU(),
        nn.Flatten(),
        nn.Linear(4 * 4 * 4, 3),
        nn.BatchNorm1d(3, momentum=None, affine=False),
        nn.Linear(3, 1),
    )
    nn.init.uniform_(network[1].weight, 0.5, 1.5)
    x = (50.0 + torch.randn(8, 1, 6, 6, generator=torch.Generator().manual_seed(1)))[rows].clone()
    share_batch_norms(network)
    x.requires_grad_()
    for _ in range(2):  # the second time the running statistics have something to remember
        output = network(x)
    (slope,) = torch.autograd.grad(output.sum(), x, create_graph=True)
    penalty = slope.flatten(1).square().sum(1)
    (output.squeeze(1).square() + penalty).mean().backward()
    parallel.average_gradients(network.parameters())
    network.eval()
    with torch.no_grad():
        judged = network(x)
    network.train()
    with torch.no_grad():
        rounded = network[:2](x.detach() - 50.0).bfloat16()
        half = network[1](network[0](x.detach() - 50.0).bfloat16())
    return {
        "output": output.detach(),
        "judged": judged,
        "half": half,
        "rounded": rounded,
        "x": x.grad,
        "parameters": {name: p.grad for name, p in network.named_parameters()},
        "state": dict(network.state_dict()),
        "kinds": [type(layer).__name__ for layer in network],
    }


def images(step: int, rows: slice) -> Batch:
    generator = torch.Generator().manual_seed(step)
    x = torch.randint(0, 256, (8, 1, 8, 8), generator=generator).byte()
    return Batch(x[rows], torch.arange(8)[rows] % 3)


def computing(precision: Precision = "float32") -> Computing:
    return Computing(torch.device("cpu"), precision)


def classified(seed: int, rows: slice) -> dict[str, Tensor]:
    """A classifier with batch norm after three steps; it begins at the weights of worker 0."""
    model, schedule = seeded(CLASSIFIER, seed), Schedule(0.01, 0, "constant", 10)
    optimiser = {**OPTIMISER, "ema": 0.9}
    taught = ClassificationLearner(model, schedule, optimiser, seed, computing())
    for step in range(3):
        taught.training_step(images(step, rows), step)
    return dict(taught.exported().state_dict())


def points(rows: slice = WHOLE) -> Batch:
    """Eight points, of which the second half are the first half again."""
    half = torch.randn(4, 2, generator=torch.Generator().manual_seed(5)) * 2.0
    return Batch(torch.cat([half, half])[rows], None)


def vae_learner(seed: int, rate: float, precision: Precision = "float32") -> ELBOLearner:
    vae = seeded(POINTS_VAE, 0)
    assert isinstance(vae, VAE)
    schedule = Schedule(rate, 0, "constant", 10)
    return ELBOLearner(vae, 1.0, schedule, OPTIMISER, seed, computing(precision))


def vaebm_learner(seed: int, buffer: ReplayBuffer | None = None) -> TiltingLearner:
    """One whose rate is zero, so that its gradients stay draws from one law."""
    model = seeded(POINTS_VAEBM, 0)
    assert isinstance(model, VAEBM)
    settings = TiltingSettings(
        langevin=LangevinSettings(2, 0.1),
        energy_magnitude=0.1,
        spectral_penalty=0.1,
        warm_start_steps=0,
        warm_start_rate=0.0,
        warm_start_normaliser=False,
        max_gap=50.0,
    )
    schedule = Schedule(0.0, 0, "constant", 10)
    return TiltingLearner(model, settings, schedule, OPTIMISER, buffer, seed, computing())


def prepared(rows: slice, seed: int) -> dict[str, Tensor]:
    taught = vaebm_learner(seed)
    torch.manual_seed(1)
    batch = Batch(torch.randn(8, 2)[rows], None)
    taught.prepare(batch)
    return dict(taught.exported().state_dict())


def drawn(taught: Learner, parameters: list[nn.Parameter], rows: slice) -> Tensor:
    """Gradients of one point in the space of weights, drawn many times: draws × parameters."""
    draws = []
    for step in range(DRAWS):
        taught.training_step(points(rows), step)
        draws.append(torch.cat([p.grad.flatten() for p in parameters if p.grad is not None]))
    return torch.stack(draws)


def drawn_by_vae(seed: int, rows: slice) -> Tensor:
    taught = vae_learner(seed, 0.0)
    return drawn(taught, taught.updater.parameters, rows)


def drawn_by_vaebm(seed: int, rows: slice) -> Tensor:
    taught = vaebm_learner(seed)
    taught.prepare(Batch(points().x[rows], None))
    return drawn(taught, taught.updater.parameters, rows)


def replayed(rank: int) -> Tensor:
    """Chains that a worker's own buffer holds after three steps."""
    buffer = ReplayBuffer(16, (2,), 0.9, 0)
    taught = vaebm_learner(10 + rank, buffer)
    for step in range(3):
        taught.training_step(points(HALVES[rank]), step)
    return buffer.state_dict()["rows"]


def overflowed(rank: int) -> dict[str, list[Any]]:
    """Weights and scales along float16 steps, of which the sixth overflows on worker 1 alone."""
    taught, weights, scales = vae_learner(rank, 1e-3, "float16"), [], []
    for step in range(7):
        batch = points(HALVES[rank])
        if step == 5 and rank == 1:
            batch = Batch(batch.x * 1e6, None)
        taught.training_step(batch, step)
        weights.append(torch.cat([p.detach().flatten() for p in taught.updater.parameters]))
        scales.append(taught.updater.scaler.get_scale())
    return {"weights": weights, "scales": scales}


if __name__ == "__main__":
    from two_workers import work_together

    with work_together() as (rank, kept):
        kept["world_size"] = parallel.world_size()
        kept["averaged"] = averaged(rank)
        kept["broadcast"] = broadcast(rank)
        kept["first_says"] = first_says(rank)
        kept["normalised"] = normalised(HALVES[rank])
        kept["classified"] = classified(rank, HALVES[rank])
        kept["prepared"] = prepared(HALVES[rank], rank)
        kept["drawn_by_vae"] = drawn_by_vae(rank, HALVES[rank])
        kept["drawn_by_vaebm"] = drawn_by_vaebm(rank, HALVES[rank])
        kept["replayed"] = replayed(rank)
        kept["overflowed"] = overflowed(rank)
