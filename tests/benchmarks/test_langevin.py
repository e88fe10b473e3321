"""What a Langevin step costs beside one forward pass and one input gradient of its energy."""

from __future__ import annotations

import statistics
from time import perf_counter

import pytest
import torch
from torch import nn

from components.networks.energy_conv import ConvEnergy, StridedEnergy
from components.networks.mlp import FullyConnectedEnergy
from components.samplers.frozen import frozen
from components.samplers.langevin import LangevinSettings, langevin

STEPS = 10
ROUNDS = 9

CASES = {
    "table-5.2": (lambda: ConvEnergy(1, 32, 32, [1, 2, 2, 2]), (64, 1, 32, 32)),
    "strided": (lambda: StridedEnergy(1, 28, [32, 64, 64, 128]), (64, 1, 28, 28)),
    "points": (lambda: FullyConnectedEnergy(2, [256] * 4), (800, 2)),
}


@pytest.mark.parametrize("metropolis", [False, True], ids=["plain", "metropolis"])
@pytest.mark.parametrize("case", CASES)
def test_step_costs_one_gradient(benchmark, case: str, metropolis: bool) -> None:
    """extra_info["ratio"]: a step's time over that of a bare evaluation (1.15 is the aim)."""
    make, shape = CASES[case]
    energy: nn.Module = make()
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(shape, generator=generator)
    settings = LangevinSettings(STEPS, 0.01, noise_scale=0.1, metropolis=metropolis)
    evaluations = STEPS + metropolis

    def bare() -> None:
        leaf = x.clone().requires_grad_()
        for _ in range(evaluations):
            torch.autograd.grad(energy(leaf).sum(), leaf)

    def chain() -> None:
        langevin(energy, x, settings, generator)

    def seconds(run) -> float:
        start = perf_counter()
        run()
        return perf_counter() - start

    with frozen(energy):
        seconds(bare), seconds(chain)
        # Taken in turns, so that a busy neighbour slows both alike.
        pairs = [(seconds(chain), seconds(bare)) for _ in range(ROUNDS)]
        benchmark.extra_info["ratio"] = statistics.median(a / b for a, b in pairs)
        benchmark.pedantic(chain, rounds=3)
