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
    distances, nearest = torch.cdist(
        points.double(),
        centres.to(points.device, torch.float64),
        # The faster way by matrix products is off by more than a narrow mode's sigma.
        compute_mode="donot_use_mm_for_euclid_dist",
    ).min(dim=1)
    within = distances <= threshold * sigma
    shares = torch.bincount(nearest, minlength=len(centres)).double() / len(points)
    return ModeCoverage(
        modes=int(nearest[within].unique().numel()),
        off_mode_fraction=1.0 - within.double().mean().item(),
        high_quality_fraction=(distances <= quality_threshold * sigma).double().mean().item(),
        mode_kl=math.log(len(centres)) + torch.special.xlogy(shares, shares).sum().item(),
    )
