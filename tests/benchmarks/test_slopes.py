"""What a gradient flow's likelihood costs an evaluation, by the ways to a Laplacian."""

from __future__ import annotations

import statistics
from time import perf_counter

import torch

from components.networks.derivatives import Slope, exact_slope
from components.networks.mlp import FullyConnectedEnergy

ROUNDS = 9


def test_one_pass_forwards_against_differentiating_again(benchmark) -> None:
    """extra_info["ratio"]: time of the general way over that of the pass forwards (above 1 pays).

    With the backward pass that training needs, at the size of chapter 5's toy energies.
    """
    energy = FullyConnectedEnergy(2, [256] * 4)
    x = torch.randn(800, 2, generator=torch.Generator().manual_seed(0), requires_grad=True)
    # The last bias is in neither part.
    weights = [p for name, p in energy.named_parameters() if name != "head.linear.bias"]

    def learned(slope: Slope) -> None:
        loss = slope.gradient.square().sum() + slope.laplacian.sum()
        torch.autograd.grad(loss, [x, *weights])

    def forwards() -> None:
        learned(exact_slope(energy, x))

    def general() -> None:
        # Wrapped, the network's class is hidden.
        learned(exact_slope(lambda items: energy(items), x))

    def seconds(run) -> float:
        start = perf_counter()
        run()
        return perf_counter() - start

    seconds(forwards), seconds(general)
    # Taken in turns, so that a busy neighbour slows both alike.
    pairs = [(seconds(general), seconds(forwards)) for _ in range(ROUNDS)]
    benchmark.extra_info["ratio"] = statistics.median(a / b for a, b in pairs)
    benchmark.pedantic(forwards, rounds=3)
