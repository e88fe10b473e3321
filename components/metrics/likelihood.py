"""Log-likelihood of unnormalised models where it can be had: the partition function ``Z``.

``log p(x) = log p_base(x) - f(x) - log Z`` (dissertation, equation 4.13). In two dimensions
``log Z`` is an integral on a grid, as in chapter 4.4.1; elsewhere an importance estimate from the
base's own samples, ``Z = E_base[exp(-f(x))]``, whose standard error says how far it may be trusted.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class GridIntegral(NamedTuple):
    """Logarithm of an integral over a box, and how well it is known.

    Attributes:
        log_z: in nats; ``-inf`` if the function vanishes at every node.
        error: estimated error of ``log_z`` in nats, >= 0: that of the resolution plus that of the
            mass outside the box; ``inf`` where one of them cannot be estimated.
        covered: estimated fraction of the whole integral that lies in the box, in [0, 1].
    """

    log_z: float
    error: float
    covered: float


class ImportanceEstimate(NamedTuple):
    """Logarithm of a mean of weights and its standard error, both in nats."""

    log_z: float
    standard_error: float


def log_partition_on_grid(
    log_unnormalised: Callable[[Tensor], Tensor],
    low: Tensor,
    high: Tensor,
    resolution: int,
    batch_size: int = 65_536,
) -> GridIntegral:
    """Integrate ``exp(log_unnormalised(x))`` over a box by the midpoint rule (chapter 4.4.1).

    The error has two parts. *Resolution*: the nodes fall into 3^D interleaved grids of a third of
    the resolution, and the largest departure of one of their integrals from the whole is taken.
    Their errors differ in phase by a third of a turn, so that they cannot all vanish at once (those
    of halves can, by symmetry); since each grid is coarser than the whole, the error of a smooth
    function is overstated, and a peak narrower than the spacing is seen as long as any node sees
    it. *Box*: the masses of the two outermost rings, each a twentieth of the box thick, are
    continued outwards as a geometric series, which overstates tails that fall faster than
    exponentially (a Gaussian's) and understates heavier ones.

    What it cannot see: mass wholly outside the box or between all nodes, and the jumps of a
    function that is not smooth (a checkerboard), whose error falls as 1 / resolution only. Choose
    the box and the resolution by the density's scales.

    Args:
        log_unnormalised: log-density up to a constant, in nats: points N×D to N values, ``-inf``
            allowed. Called without gradients.
        low: D, the lower corner of the box; points are handed over in its dtype, on its device.
        high: D, the upper corner.
        resolution: nodes along each axis, >= 20; resolution^D evaluations in all.
        batch_size: points an evaluation.

    Returns:
        The integral, its error and the fraction covered; not a number if the function is.

    Raises:
        ValueError: a resolution below 20, or an empty box.

    >>> half = torch.full((2,), 6.0)
    >>> def log_gaussian(x):
    ...     return -0.5 * x.square().sum(dim=1)
    >>> result = log_partition_on_grid(log_gaussian, -half, half, resolution=100)
    >>> round(result.log_z, 4) == round(math.log(2 * math.pi), 4), result.error < 1e-6
    (True, True)
    """
    if resolution < 20:
        raise ValueError(f"the resolution must be at least 20, not {resolution}")
    if not bool((low < high).all()):
        raise ValueError(f"the box is empty: {low.tolist()} to {high.tolist()}")
    dimensions = len(low)
    log_values = _evaluate(log_unnormalised, low, high, resolution, batch_size)
    log_cell = ((high - low).double() / resolution).log().sum().item()
    log_sum = log_values.logsumexp(dim=0).item()
    if math.isinf(log_sum):
        return GridIntegral(log_sum, math.inf, 0.0)
    # Shares of the sum from here on: no overflow, whatever the density's constant.
    shares = (log_values - log_sum).exp().reshape([resolution] * dimensions)
    interleaved = torch.stack(
        [
            shares[tuple(slice(start, None, 3) for start in starts)].sum()
            for starts in itertools.product(range(3), repeat=dimensions)
        ]
    )
    resolution_error = (interleaved * 3**dimensions).log().abs().max().item()
    outside = _mass_outside(shares, resolution // 20)
    return GridIntegral(
        log_z=log_sum + log_cell,
        error=resolution_error + math.log1p(outside),
        covered=1.0 / (1.0 + outside),
    )


def log_partition_by_importance(log_weights: Tensor) -> ImportanceEstimate:
    """Estimate ``log Z = log E[w]`` from independent samples.

    For a base tilted by an energy (dissertation, equation 4.12): ``log w = -f(x)``, x drawn from
    the base. The estimate is low on average, by about half the squared standard error. Where the
    standard error approaches 1, or a single weight outweighs the others, it is not to be trusted:
    samples have then missed where the weight is.

    Args:
        log_weights: floating point, N, N >= 2, in nats.

    Returns:
        The logarithm of the weights' mean, and its standard error by the delta method: the standard
        deviation of the weights over √N, relative to their mean. Not a number if a weight is.
    """
    log_weights = log_weights.double()
    log_z = log_weights.logsumexp(dim=0) - math.log(len(log_weights))
    relative = (log_weights - log_z).exp()
    return ImportanceEstimate(log_z.item(), (relative.std() / math.sqrt(len(relative))).item())


def energy_distance(first: Tensor, second: Tensor, chunk: int = 1024) -> float:
    """Energy distance between two sets of points, over all pairs.

    ``2 E|X-Y| - E|X-X'| - E|Y-Y'|`` of the two empirical distributions (Székely & Rizzo 2013,
    doi:10.1016/j.jspi.2013.03.018): zero only if they are one. The name is its authors' and has
    nothing to do with the energy of a model. It takes (N + M)² distances: 10,000 points a side are
    seconds.

    Args:
        first: floating point, N×D.
        second: floating point, M×D.
        chunk: rows of the distance matrix held at once.

    Returns:
        The distance, >= 0 up to rounding, in the unit of the points.
    """
    first, second = first.double(), second.double()
    return (
        2 * _mean_distance(first, second, chunk)
        - _mean_distance(first, first, chunk)
        - _mean_distance(second, second, chunk)
    )


def _evaluate(
    log_unnormalised: Callable[[Tensor], Tensor],
    low: Tensor,
    high: Tensor,
    resolution: int,
    batch_size: int,
) -> Tensor:
    """Values at the cells' midpoints: float64, resolution^D, last axis fastest."""
    dimensions = len(low)
    strides = torch.tensor([resolution**axis for axis in reversed(range(dimensions))])
    spacing = (high - low) / resolution
    values = []
    with torch.no_grad():
        for indices in torch.arange(resolution**dimensions).split(batch_size):
            cells = (indices[:, None] // strides) % resolution
            points = low + (cells.to(low.device) + 0.5) * spacing
            values.append(log_unnormalised(points.to(low.dtype)).cpu().double())
    return torch.cat(values)


def _mass_outside(shares: Tensor, thickness: int) -> float:
    """Mass beyond the box as a multiple of the mass in it, from its two outermost rings."""
    along_axis = torch.arange(len(shares))
    along_axis = torch.minimum(along_axis, along_axis.flip(0))
    depth = along_axis
    for _ in range(shares.dim() - 1):
        depth = torch.minimum(depth[..., None], along_axis)
    # Summed as they are, not taken from the whole: what counts here is far below its rounding.
    outer = shares[depth < thickness].sum().item()
    inner = shares[(depth >= thickness) & (depth < 2 * thickness)].sum().item()
    if outer <= 0.0:
        return 0.0
    # A density that does not fall towards the border can go on for ever.
    return outer * (outer / inner) / (1.0 - outer / inner) if outer < inner else math.inf


def _mean_distance(first: Tensor, second: Tensor, chunk: int) -> float:
    total = sum(
        torch.cdist(rows, second, compute_mode="donot_use_mm_for_euclid_dist").sum().item()
        for rows in first.split(chunk)
    )
    return total / (len(first) * len(second))
