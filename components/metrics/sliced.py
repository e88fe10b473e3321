"""Sliced Wasserstein distance between two sets of points, which needs no density of either."""

from __future__ import annotations

import torch
from torch import Tensor

DIRECTIONS_AT_ONCE = 64


def sliced_wasserstein(
    first: Tensor,
    second: Tensor,
    directions: int,
    generator: torch.Generator,
    order: int = 2,
) -> float:
    """Sliced Wasserstein distance between two sets of points.

    ``(E_θ W_p(θ·X, θ·Y)^p)^(1/p)`` over directions θ uniform on the sphere, W_p being exact on each
    line by the quantiles of both sides (Rabin et al. 2011, doi:10.1007/978-3-642-24785-9_37;
    Bonneel et al. 2015, doi:10.1007/s10851-014-0506-3).

    Args:
        first: floating point, N×D.
        second: floating point, M×D; N and M may differ.
        directions: number of θ drawn.
        generator: source of the directions, on the points' device.
        order: p, 1 or more.

    Returns:
        The distance, in the unit of the points.

    Raises:
        ValueError: a set without points, or points of different dimensions.

    >>> x = torch.tensor([[0.0], [1.0]])
    >>> sliced_wasserstein(x, x + 3.0, 4, torch.Generator().manual_seed(0))
    3.0
    """
    if not len(first) or not len(second) or first.shape[1] != second.shape[1]:
        shapes = f"{tuple(first.shape)} and {tuple(second.shape)}"
        raise ValueError(f"two sets of points of one dimension are needed, not {shapes}")
    first, second = first.double(), second.double()
    size = (first.shape[1], directions)
    thetas = torch.randn(size, generator=generator, device=first.device, dtype=torch.float64)
    thetas /= thetas.norm(dim=0)
    places, others, widths = _levels(len(first), len(second))
    places, others, widths = (each.to(first.device) for each in (places, others, widths))
    total = first.new_zeros(())
    for some in thetas.split(DIRECTIONS_AT_ONCE, dim=1):
        # Rows are lines: sorting is fastest along contiguous memory.
        mine, theirs = ((some.T @ points.T).sort(dim=1).values for points in (first, second))
        gaps = (mine[:, places] - theirs[:, others]).abs().pow(order)
        total += (gaps @ widths).sum()
    return float((total / directions) ** (1.0 / order))


def _levels(count: int, other: int) -> tuple[Tensor, Tensor, Tensor]:
    """Intervals of levels on which both quantile functions are constant.

    Levels are counted in units of 1 / (count · other), so that those that meet do so exactly.

    Returns:
        The place of each interval in the first and in the second sorted set, and its width.
    """
    ends = torch.cat([torch.arange(1, count + 1) * other, torch.arange(1, other + 1) * count])
    ends = ends.unique()
    starts = torch.cat([ends.new_zeros(1), ends[:-1]])
    return starts // other, starts // count, (ends - starts).double() / (count * other)
