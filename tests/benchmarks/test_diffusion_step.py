"""A step of the study's denoising GAN by its parts, beside the same step written plainly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from components.datasets.loading import Batch
from components.datasets.manifest import Manifest
from components.learners.computing import Computing
from components.learners.denoising_gan import DenoisingGANLearner
from components.learners.optimisation import Updater
from components.models.build import seeded
from components.models.denoising_gan import DenoisingGAN
from components.networks.fir import Downsample, Upsample
from components.networks.group_norm import EPSILON, GroupNorm
from pipelines.runtime.identity import REPOSITORY
from pipelines.runtime.settings import DenoisingGANPretrain, load_params
from pipelines.training.denoising import seeded_discriminator
from pipelines.training.denoising_gan import SHOWING, describe, game_of
from pipelines.training.latent import optimisation_of
from tests.benchmarks.turns import medians

pytestmark = pytest.mark.usefixtures("one_thread")
ROUNDS, SHAPE = 9, (1, 16, 16)
DATA = {
    "mnist-16": Manifest("mnist-16", "images", SHAPE, "uint8", (), (0.0,), {}),
    "25-gaussians": Manifest("25-gaussians", "points", (2,), "float32", (), (0.0,), {}),
}
STUDY = load_params(REPOSITORY / "pipelines/diffusion_gan/params.yaml")


def learner_of(precision: str, name: str = "ddgan-t4-mnist") -> DenoisingGANLearner:
    """The learner of a denoising GAN of the study, in a number format."""
    settings = STUDY.pretrain[name]
    assert isinstance(settings, DenoisingGANPretrain)
    model = cast(DenoisingGAN, seeded(describe(settings, DATA[settings.data]), 0))
    described = settings.discriminator.model_dump(exclude=SHOWING)
    return DenoisingGANLearner(
        model,
        seeded_discriminator(
            described, model.shape, settings.diffusion.steps, conditional=True, seed=0
        ),
        game_of(settings),
        optimisation_of(settings.optimiser, settings.plan.steps),
        optimisation_of(settings.discriminator_optimiser, settings.plan.steps),
        1,
        Computing(torch.device("cpu"), precision),  # type: ignore[arg-type]
    )


def plain_learner() -> DenoisingGANLearner:
    """The same in float32, with layers and updates as they are commonly written."""
    learner = learner_of("float32")
    for network in (learner.model.generator, learner.discriminator):
        network.to(memory_format=torch.contiguous_format)
        for module in list(network.modules()):
            for name, child in module.named_children():
                if isinstance(child, GroupNorm | Downsample | Upsample):
                    setattr(module, name, PLAIN[type(child)](child))
    for updater in (learner.generating, learner.judging):
        for group in updater.adam.param_groups:
            group["foreach"] = False
        updater._average = lambda step, own=updater: average_one_by_one(own, step)  # type: ignore
    return learner


class PlainNorm(nn.Module):
    def __init__(self, own: GroupNorm) -> None:
        super().__init__()
        self.own = own

    def forward(self, x: Tensor, w: Tensor | None = None) -> Tensor:
        own = self.own
        if own.affine is None:
            return functional.group_norm(x, own.groups, own.scale, own.shift, EPSILON)
        scale, shift = (part[..., None, None] for part in own.affine(w).chunk(2, dim=1))
        return scale * functional.group_norm(x, own.groups, eps=EPSILON) + shift


class PlainDown(nn.Module):
    """Filters each channel as an image of its own and throws three of four pixels away."""

    def __init__(self, own: Downsample) -> None:
        super().__init__()
        self.taps = own.taps

    def forward(self, x: Tensor) -> Tensor:
        return filtered(functional.pad(x, (1, 1, 1, 1)), self.taps)[..., ::2, ::2]


class PlainUp(nn.Module):
    """Puts zeros between pixels and filters that."""

    def __init__(self, own: Upsample) -> None:
        super().__init__()
        self.taps = own.taps

    def forward(self, x: Tensor) -> Tensor:
        spread = x.new_zeros(*x.shape[:2], x.shape[2], 2, x.shape[3], 2)
        spread[:, :, :, 0, :, 0] = x
        wide = spread.view(*x.shape[:2], 2 * x.shape[2], 2 * x.shape[3])
        return filtered(functional.pad(wide, (2, 1, 2, 1)), self.taps)


PLAIN: dict[type, Callable[[Any], nn.Module]] = {
    GroupNorm: PlainNorm,
    Downsample: PlainDown,
    Upsample: PlainUp,
}


def filtered(x: Tensor, taps: Tensor) -> Tensor:
    images = functional.conv2d(x.reshape(-1, 1, *x.shape[2:]), taps[None, None])
    return images.view(*x.shape[:2], *images.shape[2:])


@torch.no_grad()
def average_one_by_one(updater: Updater, step: int) -> None:
    decay = min(updater.ema, (1 + step) / (10 + step))
    pairs = zip(updater.average.parameters(), updater.network.parameters(), strict=True)
    for kept, new in pairs:
        kept.mul_(decay).add_(new, alpha=1.0 - decay)


def batch() -> Batch:
    generator = torch.Generator().manual_seed(0)
    size = STUDY.pretrain["ddgan-t4-mnist"].plan.batch_size
    return Batch(torch.randint(256, (size, *SHAPE), generator=generator).to(torch.uint8), None)


def parts_of(learner: DenoisingGANLearner, items: Batch) -> dict[str, Callable[[], object]]:
    """What a step is made of, each to be timed; R1 is what it adds to the discriminator's loss."""
    every = learner.settings.r1_every

    def judged(step: int) -> None:
        learner.judging.begin()
        learner.judging.accumulate(learner._judge(items, step)[0])

    def generated() -> None:
        learner.generating.begin()
        learner.generating.accumulate(learner._generate(items)[0])

    return {
        "pairs": lambda: learner._pairs(items),
        "discriminator": lambda: judged(1),
        "discriminator_and_r1": lambda: judged(every),
        "generator": generated,
        "updates": lambda: (learner.judging.update(1), learner.generating.update(1)),
    }


def test_plain_layers_are_the_same() -> None:
    """Else the comparison would be of two games."""
    ours, plain = learner_of("float32"), plain_learner()
    for learner in (ours, plain):
        assert learner.training_step(batch(), 0)
    norms = [learner.generating.gradient_norm() for learner in (ours, plain)]
    torch.testing.assert_close(*norms, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("way", ["plain", "float32", "bfloat16"])
def test_parts_of_a_step(benchmark: Any, way: str) -> None:
    """extra_info: milliseconds of each part of a step of 64 images, one thread."""
    learner = plain_learner() if way == "plain" else learner_of(way)
    items = batch()
    learner.training_step(items, 0)
    found = medians(parts_of(learner, items), ROUNDS)
    benchmark.extra_info |= {name: 1e3 * seconds for name, seconds in found.items()}
    benchmark.pedantic(learner.training_step, (items, 1), rounds=ROUNDS)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_step_of_points(benchmark: Any, precision: str) -> None:
    """A step of `ddgan-25-gaussians`, 512 points, one thread."""
    learner = learner_of(precision, "ddgan-25-gaussians")
    size = STUDY.pretrain["ddgan-25-gaussians"].plan.batch_size
    items = Batch(torch.randn(size, 2, generator=torch.Generator().manual_seed(0)), None)
    learner.training_step(items, 0)
    benchmark.pedantic(learner.training_step, (items, 1), rounds=5 * ROUNDS)
