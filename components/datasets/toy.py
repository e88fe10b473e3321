"""Two-dimensional densities that can be sampled and evaluated exactly.

The dissertation uses 25-Gaussians and the swiss roll in 4.4.1 (VAEBM, after Tanaka 2019,
arXiv:1910.06832), a swiss roll and a grid of Gaussians in 5.3, and 25-Gaussians in 6.3.3.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from components.errors import UserError

_ROWS = 4096  # points evaluated at once: bounds memory to _ROWS × (nodes or centres) float64


class ToyDensity(Protocol):
    """A normalised density on the plane."""

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw ``n`` independent points: float32, n×2."""
        ...

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-density in nats of points N×2: float64, N (−inf outside the support)."""
        ...


@dataclass(frozen=True)
class GaussianGrid:
    """Equally likely isotropic Gaussians on a square grid centred at the origin.

    The shape is set by the ratio of the grid's spacing to the Gaussians' σ, 2 : 0.05 in the
    literature on 25-Gaussians; the scale by the expected log-likelihood. While modes do not overlap
    that is −log(side²) − log(2πe σ²), which fixes σ.

    Args:
        side: modes along each axis.
        spacing_ratio: distance between neighbouring centres, in units of σ.
        expected_log_likelihood: E[log p(x)] under the density itself, nats.
    """

    side: int = 5
    spacing_ratio: float = 2 / 0.05
    expected_log_likelihood: float = -1.10

    @property
    def sigma(self) -> float:
        """Standard deviation of each mode along each axis."""
        log_variance = -self.expected_log_likelihood - math.log(self.side**2 * 2 * math.pi * math.e)
        return math.exp(log_variance / 2)

    @property
    def centres(self) -> Tensor:
        """Centres of the modes: float64, side²×2."""
        axis = torch.arange(self.side, dtype=torch.float64) - (self.side - 1) / 2
        return torch.cartesian_prod(axis, axis) * (self.spacing_ratio * self.sigma)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw ``n`` independent points: float32, n×2."""
        mode = torch.randint(self.side**2, (n,), generator=generator)
        noise = torch.randn(n, 2, generator=generator, dtype=torch.float64)
        return (self.centres[mode] + self.sigma * noise).float()

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-density in nats of points N×2: float64, N."""
        return _mixture_log_prob(x, self.centres, torch.full((self.side**2,), 1.0), self.sigma)


@dataclass(frozen=True)
class SwissRoll:
    """A spiral arm in the plane, blurred by Gaussian noise.

    The curve is c(t) = scale · t (cos t, sin t) with t uniform on [1.5π, 4.5π] (the range of
    scikit-learn's ``make_swiss_roll``), and x = c(t) + noise · N(0, I). Its density is the integral
    over t of N(x; c(t), noise² I) / 3π, taken by Gauss-Legendre quadrature of 16 nodes in panels
    along t no longer than 4 ``noise`` on the curve, which is exact to nine digits.

    Args:
        scale: factor on the curve; 0.2 puts the outer end at radius 2.83.
        noise: standard deviation of the noise along each axis, in the units of x.
    """

    scale: float = 0.2
    noise: float = 0.2

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw ``n`` independent points: float32, n×2."""
        t = 1.5 * math.pi * (1 + 2 * torch.rand(n, generator=generator, dtype=torch.float64))
        noise = torch.randn(n, 2, generator=generator, dtype=torch.float64)
        return (self._curve(t) + self.noise * noise).float()

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-density in nats of points N×2: float64, N."""
        longest = 4 * self.noise / (self.scale * math.hypot(1, 4.5 * math.pi))
        panels = math.ceil(3 * math.pi / longest)
        nodes, weights = (torch.from_numpy(a) for a in np.polynomial.legendre.leggauss(16))
        starts = 1.5 * math.pi + 3 * math.pi / panels * torch.arange(panels, dtype=torch.float64)
        t = (starts[:, None] + 1.5 * math.pi / panels * (1 + nodes)).flatten()
        return _mixture_log_prob(x, self._curve(t), weights.repeat(panels), self.noise)

    def _curve(self, t: Tensor) -> Tensor:
        return self.scale * t[:, None] * torch.stack([t.cos(), t.sin()], dim=1)


@dataclass(frozen=True)
class Checkerboard:
    """Uniform on the dark squares of a 4×4 board centred at the origin.

    Args:
        square: side of one square, in the units of x.
    """

    square: float = 2.0

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw ``n`` independent points: float32, n×2."""
        row = torch.randint(4, (n,), generator=generator)
        column = 2 * torch.randint(2, (n,), generator=generator) + row % 2
        corner = torch.stack([column, row], dim=1) - 2
        # Midpoints of a lattice of 2²⁰: a plain uniform next to 1 would round into a light square.
        offset = (torch.randint(2**20, (n, 2), generator=generator).double() + 0.5) / 2**20
        return (self.square * (corner + offset)).float()

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-density in nats of points N×2: float64, N; −inf on the light squares and outside."""
        cell = (x.double() / self.square).floor() + 2
        inside = ((cell >= 0) & (cell <= 3)).all(dim=1) & (cell.sum(dim=1) % 2 == 0)
        log_density = torch.full(inside.shape, -math.log(8 * self.square**2), dtype=torch.float64)
        return log_density.to(x.device).masked_fill(~inside, -math.inf)


def _mixture_log_prob(x: Tensor, centres: Tensor, weights: Tensor, sigma: float) -> Tensor:
    """Log-density of Σ wₖ N(x; cₖ, σ² I) / Σ wₖ for points N×2: float64, N."""
    centres, log_weights = centres.to(x.device), weights.double().log().to(x.device)
    log_norm = math.log(2 * math.pi * sigma**2) + float(weights.double().sum().log())

    def block(rows: Tensor) -> Tensor:
        # Differences, not the expanded square: far from the origin the latter cancels.
        squared = torch.cdist(rows, centres, compute_mode="donot_use_mm_for_euclid_dist").square()
        return torch.logsumexp(log_weights - squared / (2 * sigma**2), dim=1) - log_norm

    return torch.cat([block(rows) for rows in x.double().split(_ROWS)])


# Chapter 5 gives neither scales nor code. Its flows trained by maximum likelihood reach -0.69 nats
# on the roll and -1.47 on the grid: the true laws, which no model beats, have to be a little above,
# and here are at -0.59 and -1.37, within reach of a standard normal start.
_DENSITIES: dict[str, ToyDensity] = {
    "25-gaussians": GaussianGrid(),
    "9-gaussians": GaussianGrid(side=3, spacing_ratio=2 / 0.16, expected_log_likelihood=-1.37),
    "swiss-roll": SwissRoll(),
    "small-swiss-roll": SwissRoll(scale=0.1, noise=0.05),
    "checkerboard": Checkerboard(),
}


def density(name: str) -> ToyDensity:
    """Look a density up by its data set's name.

    Raises:
        UserError: no density has that name.

    >>> round(density("9-gaussians").sigma, 2)
    0.16
    """
    if name not in _DENSITIES:
        raise UserError(f"no toy density is called '{name}'; known: {', '.join(_DENSITIES)}")
    return _DENSITIES[name]
