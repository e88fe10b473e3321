"""Learning auto-encoders with a law of their latents."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from components.datasets.loading import Batch
from components.learners.computing import Computing, Precision
from components.learners.latent import Adversary, LatentLearner, LatentObjective
from components.learners.optimisation import Halving, Optimisation, Schedule
from components.learners.reconstruction import squared
from components.learners.wasserstein import LatentDiscriminator
from components.models.build import seeded
from components.models.latent_model import LatentModel

FLOW = {"kind": "flow", "hidden": 8, "blocks": 2}
PLAIN = {"betas": (0.9, 0.999), "weight_decay": 0.0, "clip_deviations": None, "ema": 0.0}


def model(posterior: str = "point", prior: str = "flow", seed: int = 0) -> LatentModel:
    kinds = {"flow": FLOW}
    made = seeded(
        {
            "kind": "latent",
            "shape": [1, 8, 8],
            "latent": 4,
            "network": {"kind": "infogan", "width": 4, "hidden": 16},
            "posterior": kinds.get(posterior, {"kind": posterior}),
            "prior": kinds.get(prior, {"kind": prior}),
        },
        seed,
    )
    assert isinstance(made, LatentModel)
    return made


def learner(
    taught: LatentModel,
    seed: int = 0,
    weight: float | None = 1.0,
    stop_gradient: bool = False,
    penalty: Any = "none",
    rate: float = 0.01,
    precision: Precision = "float32",
    compiled: bool = False,
    **optimiser: Any,
) -> LatentLearner:
    how = Optimisation(Schedule(rate, 0, Halving(50), 100), {**PLAIN, **optimiser})
    adversary = None
    if penalty == "gan":
        torch.manual_seed(seed)
        adversary = Adversary(LatentDiscriminator(4, [8]), how)
    return LatentLearner(
        taught,
        LatentObjective(squared, weight, stop_gradient, penalty, 2.0),
        how,
        how if isinstance(taught.prior, nn.Module) and list(taught.prior.parameters()) else None,
        adversary,
        seed,
        Computing(torch.device("cpu"), precision, compile=compiled),
    )


def images(count: int = 16, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    return Batch(torch.randint(0, 256, (count, 1, 8, 8), generator=generator).byte(), None)


def gradients(network: nn.Module) -> list[torch.Tensor]:
    return [p.grad.clone() for p in network.parameters() if p.grad is not None]


def test_a_stopped_gradient_leaves_the_auto_encoder_to_its_reconstruction() -> None:
    batch = images()
    both, alone = learner(model(), stop_gradient=True), learner(model(prior="none"))
    expected_model = model()
    both.training_step(batch, 0)
    alone.training_step(batch, 0)
    for part in ("encoder", "decoder"):
        found, wanted = (gradients(getattr(each.model, part)) for each in (both, alone))
        assert found and all(map(torch.equal, found, wanted))
    # The flow's gradient is that of its likelihood of the latents, and of nothing else.
    expected_model.train()
    prior = expected_model.prior
    assert isinstance(prior, nn.Module) and isinstance(both.model.prior, nn.Module)
    z = expected_model.encode(batch.x / 255.0).detach()
    (-expected_model.log_prior(z).mean()).backward()
    for one, other in zip(gradients(both.model.prior), gradients(prior), strict=True):
        torch.testing.assert_close(one, other)


def test_a_gradient_that_is_not_stopped_shrinks_the_latents() -> None:
    scales, batch = {}, images(8)
    for stop in (True, False):
        taught = learner(model(), weight=0.01, stop_gradient=stop, rate=0.05)
        for step in range(12):
            seen = taught.training_step(batch, step)
        scales[stop] = seen["latent_scale"].item()
        assert taught.diverged({name: value.item() for name, value in seen.items()}) is None
    assert scales[False] < 0.3 * scales[True]


def test_the_sampled_divergence_agrees_with_the_closed_form() -> None:
    """Eq. 3.4 with a flow at the identity, where it starts, against a standard normal prior."""
    # Each image many times: the statistics of batch norm stay what they are of one of each.
    batch = Batch(images(8).x.repeat(40, 1, 1, 1), None)
    exact = learner(model("gaussian", "normal"))._loss(batch)[1]
    flow = learner(model("gaussian", "flow"))
    kls = torch.stack([flow._loss(batch)[1]["kl"] for _ in range(20)])
    error = kls.std() / len(kls) ** 0.5
    assert abs(kls.mean() - exact["kl"]) < 4.0 * error
    assert error < 0.1 * exact["kl"] + 0.05


def test_the_weight_is_of_the_reconstruction() -> None:
    batch = images()
    for weight in (1.0, 50.0):
        loss, seen = learner(model("gaussian", "normal"), weight=weight)._loss(batch)
        torch.testing.assert_close(loss, weight * seen["reconstruction"] + seen["kl"])


def test_a_learned_weight_ends_at_the_mean_square_of_what_is_left() -> None:
    """σ² minimises ‖x − x̂‖² / 2σ² + D log σ at ‖x − x̂‖² / D."""
    taught = learner(model(prior="none"), weight=None, rate=0.05)
    torch.nn.Module.requires_grad_(taught.model, False)
    batch = images()
    for step in range(100):
        seen = taught.training_step(batch, step)
    expected = 2.0 * seen["reconstruction"] / 64.0
    found = torch.exp(2.0 * taught.log_sigma.detach())
    torch.testing.assert_close(found, expected, rtol=0.03, atol=0.0)


@pytest.mark.parametrize(
    ("posterior", "prior", "penalty", "names"),
    [
        ("point", "none", "norm", {"penalty"}),
        ("point", "normal", "mmd", {"penalty"}),
        ("point", "normal", "gan", {"penalty", "discriminator"}),
        ("point", "flow", "none", {"nll"}),
        ("gaussian", "normal", "none", {"kl", "nll", "entropy"}),
        ("flow", "normal", "none", {"kl", "nll", "entropy"}),
        ("gaussian", "flow", "none", {"kl", "nll", "entropy"}),
    ],
)
def test_every_kind_learns_and_resumes(assert_resumable, posterior, prior, penalty, names) -> None:
    def make(seed: int) -> LatentLearner:
        return learner(model(posterior, prior, seed), seed, penalty=penalty, ema=0.9)

    batches = [images(8, seed) for seed in range(2)]
    assert_resumable(make, batches, 1)
    taught = make(0)
    first = taught.training_step(batches[0], 0)
    assert first.keys() == {"loss", "reconstruction", "latent_scale"} | names
    for step in range(1, 8):
        last = taught.training_step(batches[0], step)
    assert last["reconstruction"] < first["reconstruction"]


def test_the_average_is_exported_whole() -> None:
    taught = learner(model(), stop_gradient=True, ema=0.9)
    taught.training_step(images(), 0)
    taught.training_step(images(), 1)
    exported = taught.exported()
    assert isinstance(exported, LatentModel) and not exported.training
    changed = {
        name.split(".")[0]
        for name, value in exported.named_parameters()
        if not torch.equal(value, taught.model.state_dict()[name])
    }
    assert changed == {"encoder", "decoder", "prior"}
    assert exported.state_dict().keys() == taught.model.state_dict().keys()
    plain = learner(model())
    plain.training_step(images(), 0)
    for name, value in plain.exported().state_dict().items():
        assert torch.equal(value, plain.model.state_dict()[name])


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_a_learned_weight_and_what_is_exported_survive_a_checkpoint(assert_resumable, ema) -> None:
    def make(seed: int) -> LatentLearner:
        return learner(model("gaussian", "flow", seed), seed, weight=None, ema=ema)

    assert_resumable(make, [images(8, seed) for seed in range(2)], 1)
    taught, again = make(0), make(1)
    taught.training_step(images(8), 0)
    again.load_state_dict(taught.state_dict())
    assert torch.equal(again.log_sigma, taught.log_sigma) and again.log_sigma != 0.0
    # The export follows the steps after a checkpoint: it is no copy of what was loaded.
    before = {name: value.clone() for name, value in again.exported().state_dict().items()}
    again.training_step(images(8, 1), 1)
    after = again.exported().state_dict()
    still = {name for name, _ in again.exported().named_parameters()
             if torch.equal(before[name], after[name])}  # fmt: skip
    assert {name.split(".")[0] for name in before.keys() - still} >= {"encoder", "decoder", "prior"}


# PyTorch hides this warning of its compiler's own from all but those who make warnings errors.
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
def test_compiled_networks_learn_the_same() -> None:
    from torch._dynamo.utils import counters  # takes seconds

    counters.clear()
    compiled, eager = (learner(model("gaussian", "normal"), compiled=on) for on in (True, False))
    found, expected = (each.training_step(images(8), 0) for each in (compiled, eager))
    assert counters["stats"]["unique_graphs"] > 0
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)
    for part in ("encoder", "decoder"):
        pair = (gradients(getattr(each.model, part)) for each in (compiled, eager))
        for one, other in zip(*pair, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-2, atol=1e-3)


def test_bfloat16_is_of_the_passes_alone() -> None:
    found = learner(model(), precision="bfloat16").training_step(images(), 0)
    exact = learner(model()).training_step(images(), 0)
    assert found["reconstruction"] != exact["reconstruction"]
    torch.testing.assert_close(
        found["reconstruction"], exact["reconstruction"], rtol=0.02, atol=0.0
    )
