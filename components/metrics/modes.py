"""Mode coverage of points drawn from a model of a mixture of Gaussians, such as 25-Gaussians.

The dissertation judges it by eye (figures 4.5 and 6.9); the numbers are those that became usual
with Srivastava et al. 2017 (VEEGAN, arXiv:1705.07761) and Lin et al. 2018 (PacGAN,
arXiv:1712.04086).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from components.errors import UserError


class ModeCoverage(NamedTuple):
    """How N points lie about the K modes of a mixture.

    Attributes:
        modes: modes that have at least one point within the threshold, 0..K.
        off_mode_fraction: points farther than the threshold from every mode, in [0, 1]. The
            mixture's own points in two dimensions: ``exp(-threshold² / 2)``, 0.0003 at 4.
        high_quality_fraction: points within the quality threshold of a mode, in [0, 1]. The
            mixture's own points in two dimensions: 0.9889 at 3.
        mode_kl: KL divergence, in nats, from the histogram of all points over their nearest modes
            to the uniform one: 0 (balanced) to log K (collapsed to one mode).
    """

    modes: int
    off_mode_fraction: float
    high_quality_fraction: float
    mode_kl: float


def mode_coverage(
    points: Tensor,
    centres: Tensor,
    sigma: float,
    threshold: float = 4.0,
    quality_threshold: float = 3.0,
) -> ModeCoverage:
    """Judge points against the centres of the mixture's modes.

    Args:
        points: floating point, N×D, N >= 1, generated.
        centres: floating point, K×D.
        sigma: standard deviation of each mode along each axis, in the points' unit.
        threshold: a point belongs to a mode within this many sigma of its centre.
        quality_threshold: a point is of high quality within this many sigma of a centre.

    Returns:
        The coverage; see :class:`ModeCoverage`.

    Raises:
        UserError: points that are not finite.
    """
    broken = int((~points.isfinite().all(dim=1)).sum())
    if broken:
        raise UserError(
            f"{broken} of {len(points)} generated points are not finite: the sampler has diverged;"
            " try a smaller step size"
        )
    distances, nearest = _nearest(points, centres)
    within = distances <= threshold * sigma
    shares = torch.bincount(nearest, minlength=len(centres)).double() / len(points)
    return ModeCoverage(
        modes=int(nearest[within].unique().numel()),
        off_mode_fraction=1.0 - within.double().mean().item(),
        high_quality_fraction=(distances <= quality_threshold * sigma).double().mean().item(),
        mode_kl=math.log(len(centres)) + torch.special.xlogy(shares, shares).sum().item(),
    )


def scarcest_mode(
    points: Tensor, centres: Tensor, sigma: float, quality_threshold: float = 3.0
) -> float:
    """The share of the mode that has fewest, over an equal share: 1 where all have as many.

    That a mode has a point, which is all that ``modes`` asks, is said of 1 in 10,000 too. Points
    within the threshold of a mode are counted.

    Args:
        points: finite, N×D, generated.
        centres: floating point, K×D.
        sigma: standard deviation of each mode along each axis, in the points' unit.
        quality_threshold: see `mode_coverage`.

    Returns:
        0 (a mode has none, or all are farther off) to 1.
    """
    distances, nearest = _nearest(points, centres)
    met = nearest[distances <= quality_threshold * sigma]
    counts = torch.bincount(met, minlength=len(centres))
    return len(centres) * counts.min().item() / max(len(met), 1)


def _nearest(points: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
    """Distance to the nearest centre, and its number, N each."""
    distances, nearest = torch.cdist(
        points.double(),
        centres.to(points.device, torch.float64),
        # The faster way by matrix products is off by more than a narrow mode's sigma.
        compute_mode="donot_use_mm_for_euclid_dist",
    ).min(dim=1)
    return distances, nearest
