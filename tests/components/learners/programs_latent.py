"""What two workers do for the tests of parallel learning of latents; run as a script by each.

As in `programs`, a worker takes its half of a batch, and one worker all of it.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from components.datasets.loading import Batch
from components.learners.computing import Computing
from components.learners.latent import Adversary, LatentLearner, LatentObjective
from components.learners.latent_prior import LatentPriorLearner
from components.learners.mixture import MixtureLearner
from components.learners.optimisation import Optimisation, Schedule
from components.learners.reconstruction import squared
from components.learners.wasserstein import LatentDiscriminator
from components.models.build import seeded
from components.models.latent_model import LatentModel

WHOLE = slice(None)
HALVES = (slice(0, 4), slice(4, 8))
DRAWS = 40
CPU = Computing(torch.device("cpu"))
# With weight decay: what batch norm after it makes idle has no gradient but rounding (the encoder's
# last bias in GLF), which Adam would blow up to whole steps.
PLAIN = {"betas": (0.9, 0.999), "weight_decay": 0.1, "clip_deviations": None, "ema": 0.0}
FLOW = {"kind": "flow", "hidden": 6, "blocks": 2}
Penalty = Literal["none", "norm", "mmd", "gan"]


def model(prior: dict[str, Any], posterior: str, seed: int) -> LatentModel:
    made = seeded(
        {
            "kind": "latent",
            "shape": [1, 8, 8],
            "latent": 3,
            "network": {"kind": "infogan", "width": 2, "hidden": 8},
            "posterior": {"kind": posterior},
            "prior": prior,
        },
        seed,
    )
    assert isinstance(made, LatentModel)
    return made


def images(seed: int, rows: slice, count: int = 8) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    return Batch(torch.randint(0, 256, (count, 1, 8, 8), generator=generator).byte()[rows], None)


def optimisation(rate: float, ema: float = 0.0) -> Optimisation:
    return Optimisation(Schedule(rate, 0, "constant", 10), {**PLAIN, "ema": ema})


def learner(
    prior: str,
    posterior: str,
    penalty: Penalty,
    seeds: tuple[int, int],
    rate: float,
    ema: float = 0.0,
) -> LatentLearner:
    """One whose prior and adversary have an optimiser of their own; seeds of weights and draws."""
    torch.manual_seed(seeds[0])
    own = optimisation(0.3 * rate, ema)
    adversary = Adversary(LatentDiscriminator(3, [6]), own) if penalty == "gan" else None
    return LatentLearner(
        model(FLOW if prior == "flow" else {"kind": prior}, posterior, seeds[0]),
        LatentObjective(squared, None if penalty == "norm" else 2.0, True, penalty, 0.5),
        optimisation(rate, ema),
        own if prior == "flow" else None,
        adversary,
        seeds[1],
        CPU,
    )


def learned(prior: str, penalty: Penalty, seed: int, rows: slice) -> dict[str, Tensor]:
    """Points after three steps, averaged and not; they begin at the weights of worker 0."""
    taught = learner(prior, "point", penalty, (seed, seed), 0.01, 0.9)
    for step in range(3):
        taught.training_step(images(step, rows), step)
    exported = {f"average.{k}": v for k, v in taught.exported().state_dict().items()}
    return {**exported, **taught.model.state_dict(), "log_sigma": taught.log_sigma.detach()}


def glf(seed: int, rows: slice) -> dict[str, Tensor]:
    return learned("flow", "none", seed, rows)


def rae(seed: int, rows: slice) -> dict[str, Tensor]:
    return learned("none", "norm", seed, rows)


def drawn(posterior: str, prior: str, penalty: Penalty, seed: int, rows: slice) -> Tensor:
    """Gradients of one point in the space of weights, of all networks: draws × parameters."""
    taught = learner(prior, posterior, penalty, (0, seed), 0.0)
    parameters = [p for updater in taught.updaters.members for p in updater.parameters]
    batch, draws = images(0, WHOLE).x, []
    for step in range(DRAWS):
        # MMD sees the pairs within a half alone: only over all ways to halve is its mean the same.
        generator = torch.Generator().manual_seed(step)
        order = torch.randperm(8, generator=generator) if penalty == "mmd" else torch.arange(8)
        taught.training_step(Batch(batch[order[rows]], None), step)
        draws.append(torch.cat([p.grad.flatten() for p in parameters if p.grad is not None]))
    return torch.stack(draws)


def gaussian(seed: int, rows: slice) -> Tensor:
    return drawn("gaussian", "flow", "none", seed, rows)


def mmd(seed: int, rows: slice) -> Tensor:
    return drawn("point", "normal", "mmd", seed, rows)


def gan(seed: int, rows: slice) -> Tensor:
    return drawn("point", "normal", "gan", seed, rows)


def second_stage(seed: int, rows: slice) -> dict[str, Tensor]:
    """A flow on frozen points after three steps."""
    taught = LatentPriorLearner(model(FLOW, "point", seed), optimisation(0.01, 0.9), seed, CPU)
    for step in range(3):
        taught.training_step(images(step, rows), step)
    return dict(taught.exported().state_dict())


def mixture(seed: int, rows: slice) -> dict[str, Any]:
    """A mixture fitted to all images, whatever a worker's rows are; and who fitted it."""
    taught = MixtureLearner(
        model({"kind": "mixture", "components": 2}, "gaussian", seed),
        images(0, WHOLE, 60).x,
        20,
        0,
        CPU,
    )
    before = taught.generator.get_state()
    seen = taught.training_step(images(0, rows), 0)
    fitted = not torch.equal(before, taught.generator.get_state())
    return {"state": dict(taught.exported().state_dict()), "nll": seen["nll"], "fitted": fitted}


def kept_by(rank: int) -> dict[str, Any]:
    rows = HALVES[rank]
    made = (glf, rae, gaussian, mmd, gan, second_stage, mixture)
    return {make.__name__: make(rank, rows) for make in made}


if __name__ == "__main__":
    from two_workers import work_together

    with work_together() as (rank, kept):
        kept.update(kept_by(rank))
