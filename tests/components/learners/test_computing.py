"""Number formats, parts of a batch and compiled networks: what they change, and what not."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from components.datasets.loading import Batch
from components.learners.classification import ClassificationLearner
from components.learners.computing import Computing
from components.learners.elbo import ELBOLearner
from components.learners.learner import Learner
from components.learners.optimisation import Schedule, Updater, Updaters
from components.learners.short_run import ShortRunLearner, ShortRunSettings
from components.learners.tilting import TiltingLearner, TiltingSettings
from components.models.build import seeded
from components.models.short_run import ShortRunEBM
from components.models.vae import VAE
from components.models.vaebm import VAEBM
from components.samplers.langevin import LangevinSettings
from components.samplers.replay_buffer import ReplayBuffer
from tests.components.learners.programs import POINTS_VAE, POINTS_VAEBM

CPU = Computing(torch.device("cpu"))
STILL, MOVING = Schedule(0.0, 0, "constant", 10), Schedule(1e-2, 0, "constant", 10)
OPTIMISER = {"betas": (0.9, 0.999), "weight_decay": 0.0, "clip_deviations": None, "ema": 0.0}


def points(count: int = 8) -> Batch:
    return Batch(torch.randn(count, 2, generator=torch.Generator().manual_seed(3)), None)


def half(batch: Batch, number: int) -> Batch:
    size = len(batch.x) // 2
    return Batch(batch.x[number * size : (number + 1) * size], None)


def elbo(computing: Computing, schedule: Schedule = STILL) -> ELBOLearner:
    vae = seeded(POINTS_VAE, 0)
    assert isinstance(vae, VAE)
    return ELBOLearner(vae, 1.0, schedule, OPTIMISER, 1, computing)


def tilting(
    computing: Computing, schedule: Schedule = STILL, warm_start_steps: int = 0
) -> TiltingLearner:
    model = seeded(POINTS_VAEBM, 0)
    assert isinstance(model, VAEBM)
    settings = TiltingSettings(
        langevin=LangevinSettings(3, 0.1),
        energy_magnitude=0.1,
        spectral_penalty=0.0,
        warm_start_steps=warm_start_steps,
        warm_start_rate=schedule.peak,
        warm_start_normaliser=False,
        max_gap=50.0,
    )
    buffer = ReplayBuffer(32, (2,), 0.5, 0)
    return TiltingLearner(model, settings, schedule, OPTIMISER, buffer, 1, computing)


def warm(computing: Computing) -> TiltingLearner:
    return tilting(computing, warm_start_steps=100)


def short_run(computing: Computing) -> ShortRunLearner:
    model = seeded(
        {
            "kind": "short-run-ebm",
            "shape": [2],
            "energy": {"kind": "fully-connected", "hidden": [6, 5]},
            "langevin": {"steps": 3, "step_size": 0.4},
            "start": {"law": "normal", "scale": 1.0},
        },
        0,
    )
    assert isinstance(model, ShortRunEBM)
    settings = ShortRunSettings(1.0, True, 0.1, 50.0)
    buffer = ReplayBuffer(32, (2,), 0.5, 0)
    return ShortRunLearner(model, settings, STILL, OPTIMISER, buffer, 1, computing)


def gradient(taught: ELBOLearner | TiltingLearner | ShortRunLearner) -> Tensor:
    found = [p.grad.flatten() for p in taught.updater.parameters if p.grad is not None]
    return torch.cat(found).clone()


@pytest.mark.parametrize("make", [elbo, warm, tilting, short_run])
def test_parts_of_a_batch_average_their_gradients(make) -> None:
    """The parts draw one after the other from one stream, so they can be followed one by one."""
    whole, single = make(replace(CPU, parts=2)), make(CPU)
    metrics = whole.training_step(points(), 0)
    seen = []
    for number in range(2):
        seen.append((single.training_step(half(points(), number), 0), gradient(single)))
    (first_metrics, first), (second_metrics, second) = seen
    torch.testing.assert_close(gradient(whole), 0.5 * (first + second))
    assert not torch.allclose(first, second)
    for name in metrics.keys() - {"gradient_norm"}:
        torch.testing.assert_close(
            metrics[name], 0.5 * (first_metrics[name] + second_metrics[name])
        )
    if "gradient_norm" in metrics:
        torch.testing.assert_close(metrics["gradient_norm"], gradient(whole).norm())
    assert torch.equal(whole.generator.get_state(), single.generator.get_state())


def test_parts_change_nothing_where_nothing_is_random() -> None:
    def learned(parts: int) -> dict[str, Tensor]:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.SiLU(), nn.Linear(8, 3))
        computing = replace(CPU, parts=parts)
        taught = ClassificationLearner(model, MOVING, {**OPTIMISER, "ema": 0.9}, 0, computing)
        for step in range(3):
            generator = torch.Generator().manual_seed(step)
            x = torch.randint(0, 256, (12, 1, 4, 4), generator=generator).byte()
            taught.training_step(Batch(x, torch.arange(12) % 3), step)
        return dict(taught.exported().state_dict())

    torch.testing.assert_close(learned(4), learned(1), rtol=1e-4, atol=1e-6)


def test_parts_are_equal() -> None:
    with pytest.raises(ValueError, match="8 items do not make 3 equal parts"):
        elbo(replace(CPU, parts=3)).training_step(points(), 0)


def test_float16_follows_float32() -> None:
    """Once the scale has come down to where nothing overflows, the same way but for rounding."""
    half_way, exact = elbo(replace(CPU, precision="float16"), MOVING), elbo(CPU, MOVING)
    assert half_way.updater.scaler.is_enabled() and not exact.updater.scaler.is_enabled()
    for step in range(5):
        half_way.training_step(points(), step)
        exact.training_step(points(), step)
    for found, expected in zip(half_way.updater.parameters, exact.updater.parameters, strict=True):
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, expected, rtol=0.05, atol=5e-3)
    norm = gradient(exact).norm().item()
    assert half_way.updater.gradient_norm().item() == pytest.approx(norm, rel=0.05)  # unscaled


def test_an_overflow_leaves_out_the_update_and_is_no_divergence() -> None:
    network = nn.Linear(2, 1, bias=False)
    learned = Updater(network, MOVING, **OPTIMISER, scaled=True)
    before, scale = copy.deepcopy(network.state_dict()), None
    for factor in (1.0, torch.inf, 1.0):
        learned.begin()
        learned.accumulate(factor * network.weight.sum())
        learned.update(0)
        same = torch.equal(network.weight, before["weight"])
        assert same == (factor == torch.inf)
        assert learned.gradient_norm().item() == pytest.approx(0.0 if same else 2**0.5)
        if same:
            assert scale is not None and learned.scaler.get_scale() == 0.5 * scale
        before, scale = copy.deepcopy(network.state_dict()), learned.scaler.get_scale()
    saved = learned.state_dict()
    again = Updater(nn.Linear(2, 1, bias=False), MOVING, **OPTIMISER, scaled=True)
    again.load_state_dict(saved)
    assert again.scaler.get_scale() == scale


def test_an_overflow_leaves_out_the_update_of_all_members() -> None:
    """Weights that are learned together stay those of one step, whoever of them overflows."""
    networks = [nn.Linear(2, 1, bias=False) for _ in range(2)]
    members = [
        Updater(network, MOVING, **{**OPTIMISER, "clip_deviations": clip}, scaled=True)
        for network, clip in zip(networks, (None, 1.0), strict=True)
    ]
    learned = Updaters(members)
    for factors in ((1.0, 1.0), (1.0, torch.inf), (torch.nan, 1.0), (1.0, 1.0)):
        before = [network.weight.detach().clone() for network in networks]
        scale = members[0].scaler.get_scale()
        learned.begin()
        sums = [factor * n.weight.sum() for factor, n in zip(factors, networks, strict=True)]
        learned.accumulate(sums[0] + sums[1])
        learned.update(0)
        moved = [not torch.equal(n.weight, b) for n, b in zip(networks, before, strict=True)]
        if factors == (1.0, 1.0):
            assert moved == [True, True] and members[1].scaler.get_scale() == scale
            for network, old in zip(networks, before, strict=True):
                torch.testing.assert_close(network.weight.detach(), old - MOVING.peak)
        else:
            assert moved == [False, False] and members[1].scaler.get_scale() == 0.5 * scale
    again = Updaters(
        [Updater(nn.Linear(2, 1, bias=False), MOVING, **OPTIMISER, scaled=True) for _ in range(2)]
    )
    again.load_state_dict(learned.state_dict())
    assert again.members[1].scaler.get_scale() == members[0].scaler.get_scale()


# PyTorch hides this warning of its compiler's own from all but those who make warnings errors.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
def test_compiled_networks_learn_the_same() -> None:
    """Through weight norm's preparation, the warm start and chains: all that the energy does."""

    def learned(computing: Computing) -> Learner:
        taught = tilting(computing, MOVING, warm_start_steps=1)
        taught.prepare(points())
        for step in range(3):
            taught.training_step(points(), step)
        return taught

    from torch._dynamo.utils import counters  # takes seconds

    counters.clear()
    compiled, eager = learned(replace(CPU, compile=True)), learned(CPU)
    assert counters["stats"]["unique_graphs"] > 0
    torch.testing.assert_close(
        dict(compiled.exported().state_dict()), dict(eager.exported().state_dict()),
        rtol=1e-3, atol=1e-5,
    )  # fmt: skip
