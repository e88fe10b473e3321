"""Two-dimensional laws side by side: as clouds of points, and as densities on a grid."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from components.plots import look

PANEL = 2.35
MOST_COLUMNS = 6
INK_OF_A_PANEL = 9000.0
"""Sum of the marker areas of a panel, points²: many points are drawn smaller."""


def scatter_panels(
    clouds: Mapping[str, ArrayLike],
    extent: float,
    centres: ArrayLike | None = None,
    *,
    one_colour: bool = False,
) -> Figure:
    """Clouds of points, one panel each, on the same map (Figures 4.5 and 5.3).

    Args:
        clouds: title → floating point, N×2; an array or a tensor on the CPU. Titles *data*, *base*
            and *composition* have their own colours.
        extent: panels show [-extent, extent]²; points beyond are not drawn, and their share is
            written in the corner.
        centres: K×2, the true modes, marked by crosses; None marks nothing.
        one_colour: all panels in the composition's colour, for stages of one thing.

    Returns:
        A figure of one panel a cloud, at most 6 in a row.
    """
    figure, axes = _square_panels(len(clouds))
    for position, (name, cloud) in enumerate(clouds.items()):
        panel, points = axes[position], np.asarray(cloud)
        look.title(panel, name)
        look.square(panel, extent)
        colour = look.COMPOSITION if one_colour else look.colour_of(name, position)
        size = float(np.clip(INK_OF_A_PANEL / max(len(points), 1), 0.4, 8.0))
        panel.scatter(
            points[:, 0], points[:, 1], s=size, c=colour, alpha=0.5, linewidths=0, rasterized=True
        )
        if centres is not None:
            marks = np.asarray(centres)
            panel.scatter(
                marks[:, 0], marks[:, 1], s=14, marker="+", c=look.INK, linewidths=0.6, zorder=3
            )
        outside = float(np.mean(np.abs(points).max(axis=1) > extent)) if len(points) else 0.0
        if outside > 0:
            panel.text(
                0.97,
                0.03,
                f"{outside:.2%} beyond",
                transform=panel.transAxes,
                ha="right",
                fontsize=look.TICK_SIZE,
                color=look.MUTED,
            )
    return figure


def density_panels(densities: Mapping[str, ArrayLike], extent: float) -> Figure:
    """Densities on a grid, one panel each, all on one colour scale (Figures 5.3-5.5).

    Colour follows the square root of the density, so that the thin bridges that a base lays between
    modes stay visible beside the modes.

    Args:
        densities: title → R×R, not negative; row i is the i-th y from below, column j the j-th x,
            both from -extent to extent.
        extent: half the side of the map, in the data's units.

    Returns:
        A figure of one panel a density with a common colour bar.
    """
    figure, axes = _square_panels(len(densities))
    values = {name: np.asarray(density, dtype=np.float64) for name, density in densities.items()}
    top = max(float(density.max()) for density in values.values())
    scale = PowerNorm(0.5, vmin=0.0, vmax=top if top > 0 else 1.0)
    for panel, (name, density) in zip(axes, values.items(), strict=False):
        look.title(panel, name)
        look.square(panel, extent)
        shown = panel.imshow(
            density,
            norm=scale,
            cmap=look.DENSITY_COLOURS,
            extent=(-extent, extent, -extent, extent),
            origin="lower",
            interpolation="bilinear",
        )
    bar = figure.colorbar(shown, ax=axes, shrink=0.8, aspect=28, pad=0.015)
    bar.set_label("density (square-root scale)", fontsize=look.TICK_SIZE, color=look.MUTED)
    bar.ax.tick_params(labelsize=look.TICK_SIZE, colors=look.MUTED, length=2)
    bar.outline.set_visible(False)
    return figure


def _square_panels(count: int) -> tuple[Figure, list[Axes]]:
    columns = look.balanced_columns(count, MOST_COLUMNS)
    rows = math.ceil(count / columns)
    figure, axes = look.panels(rows, columns, PANEL, PANEL + 0.2)
    for spare in axes[count:]:
        spare.remove()
    return figure, axes[:count]
