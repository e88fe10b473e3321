"""Densities of the plane: their maps, and energies made into densities of a box."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from components.metrics.likelihood import GridIntegral, log_partition_on_grid

LogDensity = Callable[[Tensor], Tensor]

ROWS = 8192
"""Points evaluated at once: a flow carries all of them along its way."""


class BoxDensity:
    """exp(-f) normalised over [-extent, extent]² (dissertation, Figures 5.4 and 5.5).

    Over the box and not the plane: the energy of a network need not be integrable.

    Args:
        log_unnormalised: points N×2 to N values, nats.
        extent: half the side of the box.
        resolution: nodes of a side, for the normaliser.

    Attributes:
        integral: the normaliser, with its error and the share of the mass that the box holds.
    """

    integral: GridIntegral

    def __init__(self, log_unnormalised: LogDensity, extent: float, resolution: int) -> None:
        self.log_unnormalised, self.extent = log_unnormalised, extent
        corner = torch.full((2,), extent)
        self.integral = log_partition_on_grid(log_unnormalised, -corner, corner, resolution, ROWS)

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        """log p(x), nats, N; -inf outside the box."""
        log_density = self.log_unnormalised(x) - self.integral.log_z
        return log_density.masked_fill(x.abs().amax(dim=1) > self.extent, -torch.inf)

    def sample(self, count: int, resolution: int, generator: torch.Generator) -> Tensor:
        """Points of the density itself, count×2, float32 on the CPU, whatever a chain would find.

        A cell of a grid by the density at its middle, then a place in the cell, all alike: exact up
        to the size of a cell, whose side is 2·extent / resolution.

        Args:
            count: number of points.
            resolution: cells of a side.
            generator: source of cells and places, on the CPU.
        """
        values = density_map(self, self.extent, resolution).flatten()
        cells = (values - values.max()).exp().cumsum(dim=0)
        drawn = torch.rand(count, generator=generator, dtype=torch.float64) * cells[-1]
        found = torch.searchsorted(cells, drawn).clamp_max(len(cells) - 1)
        corner = torch.stack([found % resolution, found // resolution], dim=1)
        places = torch.rand(count, 2, generator=generator, dtype=torch.float64)
        side = 2.0 * self.extent / resolution
        return ((corner + places) * side - self.extent).float()


@torch.no_grad()
def density_map(log_density: LogDensity, extent: float, resolution: int) -> Tensor:
    """log p on a grid of the plane, as the plots of densities take it.

    Args:
        log_density: points N×2, float32, to N values, nats.
        extent: the map covers [-extent, extent]².
        resolution: R, nodes of a side, at the middle of equal cells.

    Returns:
        float64, R×R on the CPU; row i is the i-th y from below, column j the j-th x.
    """
    side = extent * ((2.0 * torch.arange(resolution) + 1.0) / resolution - 1.0)
    y, x = torch.meshgrid(side, side, indexing="ij")
    nodes = torch.stack([x.flatten(), y.flatten()], dim=1)
    values = torch.cat([log_density(rows).double().cpu() for rows in nodes.split(ROWS)])
    return values.view(resolution, resolution)
