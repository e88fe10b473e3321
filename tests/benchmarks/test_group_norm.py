"""Group normalisation beside PyTorch's own layer, forwards and backwards."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from time import perf_counter
from typing import Any

import pytest
import torch
from torch.nn import functional

from components.networks.group_norm import EPSILON, GroupNorm, groups_of

ROUNDS, IMAGES = 30, 64
MAPS = [(16, 16), (32, 16), (32, 8), (64, 8)]  # channels and side, as in the study's U-Net


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("channels", "side"), MAPS)
def test_against_pytorchs(benchmark: Any, channels: int, side: int, dtype: torch.dtype) -> None:
    """extra_info["ratio"]: PyTorch's time over this project's, taken in turns, one thread."""
    shape = (IMAGES, channels, side, side)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    x = x.contiguous(memory_format=torch.channels_last)
    layer, groups = GroupNorm(channels, groups_of(channels)), groups_of(channels)
    scale, shift = (p.detach().to(dtype).requires_grad_() for p in layer.parameters())

    def here() -> None:
        layer(x.clone().requires_grad_()).backward(x)

    def there() -> None:
        given = x.clone().requires_grad_()
        functional.group_norm(given, groups, scale, shift, EPSILON).backward(x)

    def seconds(run: Callable[[], None]) -> float:
        start = perf_counter()
        run()
        return perf_counter() - start

    seconds(there), seconds(here)
    ratios = [seconds(there) / seconds(here) for _ in range(ROUNDS)]
    benchmark.extra_info["ratio"] = statistics.median(ratios)
    benchmark.pedantic(here, rounds=3)
