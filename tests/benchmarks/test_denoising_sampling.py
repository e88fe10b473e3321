"""What sampling costs: T = 4 steps in passes of the generator, and beside 1,000 steps."""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch

from components.datasets.manifest import Manifest
from components.models.build import seeded
from components.models.ddpm import DDPM, DDPMSampler
from components.models.denoising_gan import DenoisingGAN
from pipelines.runtime.identity import REPOSITORY
from pipelines.runtime.settings import DDPMPretrain, DenoisingGANPretrain, load_params
from pipelines.training import ddpm, denoising_gan
from tests.benchmarks.turns import medians

pytestmark = pytest.mark.usefixtures("one_thread")
COUNT, ROUNDS = 100, 15
SHORT = 20  # of the 1,000 steps, all alike: the rest is by proportion
STUDY = load_params(REPOSITORY / "pipelines/diffusion_gan/params.yaml")
IMAGES = Manifest("mnist-16", "images", (1, 16, 16), "uint8", (), (0.0,), {})


def few_steps() -> DenoisingGAN:
    settings = STUDY.pretrain["ddgan-t4-mnist"]
    assert isinstance(settings, DenoisingGANPretrain)
    return cast(DenoisingGAN, seeded(denoising_gan.describe(settings, IMAGES), 0).eval())


def many_steps() -> DDPM:
    settings = STUDY.pretrain["ddpm-mnist"]
    assert isinstance(settings, DDPMPretrain)
    return cast(DDPM, seeded(ddpm.describe(settings, IMAGES), 0).eval())


def test_sampling_beside_a_pass_and_beside_a_thousand_steps(benchmark: Any) -> None:
    """extra_info: passes of the generator that T = 4 costs, and how many times 1,000 steps do."""
    model, rival, generator = few_steps(), many_steps(), torch.Generator().manual_seed(0)
    state = model.states.noise(COUNT, generator)
    t, z = torch.zeros(COUNT, dtype=torch.long), model.latents(COUNT, generator)
    short = DDPMSampler("ddim", steps=SHORT, eta=1.0)

    @torch.no_grad()
    def one_pass() -> None:
        model.generator(state, t, z)

    found = medians(
        {
            "pass": one_pass,
            "few": lambda: model.sample(COUNT, generator),
            "share": lambda: rival.sample(COUNT, generator, sampler=short),
        },
        ROUNDS,
    )
    many = found["share"] * rival.process.steps / SHORT
    benchmark.extra_info |= {
        "passes": found["few"] / found["pass"],
        "thousand_steps_seconds": many,
        "thousand_steps_ratio": many / found["few"],
    }
    benchmark.pedantic(model.sample, (COUNT, generator), rounds=ROUNDS)
