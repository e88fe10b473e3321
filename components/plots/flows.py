"""A gradient flow and the energy-based model of the same energy, beside the truth."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, PowerNorm
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from components.plots import look
from components.plots.densities import INK_OF_A_PANEL, PANEL

DEPTH = 8.0
"""Nats below its own peak at which a log-density is as pale as paper."""
NAME_WIDTH = 28
"""Characters of a training's name that fit beside a panel; longer ones take two lines."""


@dataclass(frozen=True)
class FlowRow:
    """What is shown of one training.

    Attributes:
        samples: points of the flow or of chains, N×2.
        energy: log-density of exp(-f) / Z, R×R; row i is the i-th y from below.
        flow: log-density of the flow, R×R; None for noisy chains, which have none (Figure 5.4).
        truth: log-density of the data's law, R×R.
        extent: maps show [-extent, extent]².
    """

    samples: ArrayLike
    energy: ArrayLike
    flow: ArrayLike | None
    truth: ArrayLike
    extent: float


def flow_panels(rows: Mapping[str, FlowRow], *, logarithmic: bool) -> Figure:
    """Samples | density of the EBM | density of the flow | truth, a row a training.

    Each map has a colour scale of its own, from its own peak: an EBM can have most of its mass
    where no datum is, and a common scale would leave the others blank.

    Args:
        rows: name → what is shown, at least one.
        logarithmic: colour follows the log-density, 8 nats down from the peak (Figures 5.3 and
            5.4); otherwise the square root of the density (Figure 5.5).

    Returns:
        A figure of 4 panels a row.
    """
    figure, axes = look.panels(len(rows), 4, PANEL, PANEL + 0.2)
    for number, (name, row) in enumerate(rows.items()):
        samples, *maps = axes[4 * number : 4 * number + 4]
        _points(samples, np.asarray(row.samples), row.extent)
        look.title(samples, "samples")
        if len(rows) > 1:
            look.label(samples, y=textwrap.fill(name, NAME_WIDTH))
        shown = {"EBM's own density": row.energy, "flow's density": row.flow, "truth": row.truth}
        for panel, (title, log_density) in zip(maps, shown.items(), strict=True):
            if log_density is None:
                panel.remove()
                continue
            look.title(panel, title)
            look.square(panel, row.extent)
            _map(panel, np.asarray(log_density, dtype=np.float64), row.extent, logarithmic)
    return figure


def _points(panel: Axes, points: np.ndarray, extent: float) -> None:
    look.square(panel, extent)
    size = float(np.clip(INK_OF_A_PANEL / max(len(points), 1), 0.4, 8.0))
    panel.scatter(
        points[:, 0],
        points[:, 1],
        s=size,
        c=look.COMPOSITION,
        alpha=0.5,
        linewidths=0,
        rasterized=True,
    )


def _map(panel: Axes, log_density: np.ndarray, extent: float, logarithmic: bool) -> None:
    peak = float(log_density.max())
    below = log_density - (peak if np.isfinite(peak) else 0.0)
    values = np.maximum(below, -DEPTH) if logarithmic else np.exp(below)
    panel.imshow(
        values,
        norm=Normalize(-DEPTH, 0.0) if logarithmic else PowerNorm(0.5, vmin=0.0, vmax=1.0),
        cmap=look.DENSITY_COLOURS,
        extent=(-extent, extent, -extent, extent),
        origin="lower",
        interpolation="bilinear",
    )
