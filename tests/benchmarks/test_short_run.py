"""Short-run EBMs beside the same loop written plainly, and chains beside those of torchebm."""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import pytest
import torch
from torch import Tensor, nn
from torchebm.core import BaseModel
from torchebm.samplers import LangevinDynamics

from components.datasets.loading import Batch
from components.images import to_unit
from components.learners.computing import Computing
from components.learners.optimisation import Schedule
from components.learners.short_run import ShortRunLearner, ShortRunSettings
from components.models.short_run import ShortRunEBM, Start
from components.networks.energy_conv import ConvEnergy
from components.networks.mlp import FullyConnectedEnergy
from components.samplers.frozen import frozen
from components.samplers.langevin import LangevinSettings, langevin
from pipelines.runtime.identity import REPOSITORY

ROUNDS = 5
STEPS, STEP_SIZE, NOISE_SCALE = 40, 0.1, 0.1
IMAGES, WIDTH = 64, 32  # Table 5.2's network and the batch of 5.5.3
RATE, BETAS = 5e-4, (0.9, 0.999)
PROCESS = Path(__file__).with_name("unrolled_process.py")

CASES = {
    "images": (lambda: ConvEnergy(1, 32, WIDTH, [1, 2, 2, 2]), (IMAGES, 1, 32, 32)),
    "points": (lambda: FullyConnectedEnergy(2, [256] * 4), (800, 2)),
}


def ratio(slow: Callable[[], object], fast: Callable[[], object]) -> float:
    """Median of the times of `slow` over those of `fast`, taken in turns."""

    def seconds(run: Callable[[], object]) -> float:
        start = perf_counter()
        run()
        return perf_counter() - start

    seconds(slow), seconds(fast)
    return statistics.median(seconds(slow) / seconds(fast) for _ in range(ROUNDS))


def energy_of_images() -> ConvEnergy:
    torch.manual_seed(0)
    return ConvEnergy(1, 32, WIDTH, [1, 2, 2, 2])


def images() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (IMAGES, 1, 32, 32), generator=generator).to(torch.uint8)


def plain_loop(energy: nn.Module, batch: Tensor, whole: bool) -> Callable[[], Tensor]:
    """The loop as it is commonly written: float32, and parameters that ask for gradients.

    Args:
        energy: the network.
        batch: of images.
        whole: whether a step of the chain is a whole backward pass, which finds the parameters'
            gradients too; otherwise the gradient by the images alone is asked for.
    """
    adam = torch.optim.Adam(energy.parameters(), lr=RATE, betas=BETAS)
    generator = torch.Generator().manual_seed(1)

    def slope_of(total: Tensor, x: Tensor) -> Tensor:
        if not whole:
            return torch.autograd.grad(total, [x])[0]
        total.backward()
        assert x.grad is not None
        return x.grad

    def step() -> Tensor:
        data = to_unit(batch)
        x = torch.empty(data.shape).normal_(generator=generator).requires_grad_()
        for _ in range(STEPS):
            slope = slope_of(energy(0.5 * x + 0.5).sum(), x)
            noise = torch.empty(x.shape).normal_(generator=generator)
            moved = x - 0.5 * STEP_SIZE * slope + math.sqrt(STEP_SIZE) * NOISE_SCALE * noise
            x = moved.detach().requires_grad_()
        loss = energy(data).mean() - energy(0.5 * x.detach() + 0.5).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        return loss.detach()

    return step


def learned_loop(energy: nn.Module, batch: Tensor, precision: str) -> Callable[[], Tensor]:
    """This project's, in a number format."""
    reduced = precision == "bfloat16"
    sampler = LangevinSettings(
        STEPS, STEP_SIZE, NOISE_SCALE, autocast="bfloat16" if reduced else None
    )
    model = ShortRunEBM(energy.to(memory_format=torch.channels_last), (1, 32, 32), sampler, Start())
    optimiser = {"betas": BETAS, "weight_decay": 0.0, "clip_deviations": None, "ema": 0.0}
    learner = ShortRunLearner(
        model,
        ShortRunSettings(0.0, False, 0.0, 1e9),
        Schedule(RATE, 0, "constant", 1000),
        optimiser,
        None,
        1,
        Computing(torch.device("cpu"), "bfloat16" if reduced else "float32"),
    )
    return lambda: learner.training_step(Batch(batch, None), 0)["loss"]


@pytest.mark.parametrize("whole", [False, True], ids=["by-images", "whole-backward"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_step_against_the_plain_loop(benchmark, precision: str, whole: bool) -> None:
    """extra_info["ratio"]: the plain loop's time over this project's; 1.8 is the aim."""
    plain = plain_loop(energy_of_images(), images(), whole)
    learned = learned_loop(energy_of_images(), images(), precision)
    # The same network on the same draws: the same loss before anything is learned.
    tolerance = 1e-4 if precision == "float32" else 2e-2
    torch.testing.assert_close(learned(), plain(), rtol=tolerance, atol=tolerance)
    benchmark.extra_info["ratio"] = ratio(plain, learned)
    benchmark.pedantic(learned, rounds=3)


@pytest.mark.parametrize(("width", "count", "steps"), [(8, 32, 20), (32, 16, 40)])
def test_memory_of_the_generator_loss(benchmark, width: int, count: int, steps: int) -> None:
    """extra_info: MB of a step above what was there, kept whole and computed again; slowdown."""

    def measured(checkpoint: int) -> dict[str, float]:
        numbers = [str(number) for number in (width, count, steps, checkpoint)]
        done = subprocess.run(
            [sys.executable, str(PROCESS), *numbers],
            check=True,
            capture_output=True,
            text=True,
            env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        )
        found: dict[str, float] = json.loads(done.stdout)
        return found

    kept = measured(0)
    again = benchmark.pedantic(measured, (1,), rounds=1)
    benchmark.extra_info |= {"mb_kept": kept["mb"], "mb_again": again["mb"]}
    benchmark.extra_info["slowdown"] = again["seconds"] / kept["seconds"]
    assert again["mb"] < kept["mb"]


class Energy(BaseModel):
    """An energy as torchebm takes it."""

    def __init__(self, energy: nn.Module) -> None:
        super().__init__()
        self.energy = energy

    def forward(self, x: Tensor) -> Tensor:
        energies: Tensor = self.energy(x)
        return energies


@pytest.mark.parametrize("frozen_there", [False, True], ids=["as-it-comes", "frozen-there-too"])
@pytest.mark.parametrize("case", CASES)
def test_chains_against_torchebm(benchmark, case: str, frozen_there: bool) -> None:
    """extra_info["ratio"]: torchebm's time over this project's, both in float32; 1 is the aim.

    Its step is x - h∇U + √(2h) noise_scale ω: Eq. 5.3 with η = 2h.
    """
    make, shape = CASES[case]
    torch.manual_seed(0)
    energy = make().to(memory_format=torch.channels_last)
    start = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    theirs = LangevinDynamics(
        Energy(energy).requires_grad_(not frozen_there), 0.5 * STEP_SIZE, NOISE_SCALE
    )
    ours = LangevinSettings(STEPS, STEP_SIZE, NOISE_SCALE)

    def there() -> Tensor:
        found = theirs.sample(start, n_steps=STEPS, generator=torch.Generator().manual_seed(1))
        assert isinstance(found, Tensor)
        return found

    def here() -> Tensor:
        with frozen(energy):
            return langevin(energy, start, ours, torch.Generator().manual_seed(1)).state

    torch.testing.assert_close(here(), there(), rtol=1e-3, atol=1e-3)
    benchmark.extra_info["ratio"] = ratio(there, here)
    benchmark.pedantic(here, rounds=3)
