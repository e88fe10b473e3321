"""The one look that all figures share, given to each figure by hand: no global rcParams, no pyplot.

Colours are those of Okabe and Ito, "Color Universal Design" (2008), which people with any of the
common colour vision deficiencies can tell apart. What a colour means is the same in all figures.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

DPI = 160
MARGIN = 0.06
"""Around each panel, inches."""
PAPER = "#ffffff"
INK = "#1d2530"
MUTED = "#5b6675"
LINE = "#d5dae1"
BASE = "#d55e00"
COMPOSITION = "#0072b2"
DIVERGED = "#cc79a7"
DENSITY_COLOURS = "Blues"
"""ColorBrewer's sequential map: lightness falls steadily, zero is nearly the paper."""

CYCLE = (COMPOSITION, BASE, "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
ROLES: Mapping[str, str] = MappingProxyType(
    {
        "base": BASE,
        "composition": COMPOSITION,
        "data": INK,
        "test": INK,
        "truth": INK,
        "floor": MUTED,
    }
)

TITLE_SIZE = 9.5
LABEL_SIZE = 8.5
TICK_SIZE = 7.5


def colour_of(label: str, position: int) -> str:
    """The colour of a series.

    Args:
        label: its name; *base*, *composition*, *data*, *test*, *truth* and *floor* have a colour of
            their own, whatever stands beside them.
        position: its place among the series, for all other names.

    Returns:
        ``#rrggbb``.

    >>> colour_of("base", 3) == BASE
    True
    """
    return ROLES.get(label, CYCLE[position % len(CYCLE)])


def panels(
    rows: int, columns: int, width: float, height: float, *, shared: bool = False
) -> tuple[Figure, list[Axes]]:
    """An empty figure with styled axes.

    Args:
        rows: of panels.
        columns: of panels.
        width: of one panel, inches.
        height: of one panel, inches.
        shared: panels share both axes, and only the outer ones carry numbers.

    Returns:
        The figure, on an Agg canvas, and its axes in reading order.
    """
    figure = Figure(
        figsize=(columns * width, rows * height),
        dpi=DPI,
        facecolor=PAPER,
        layout=ConstrainedLayoutEngine(w_pad=MARGIN, h_pad=MARGIN),
    )
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, columns, sharex=shared, sharey=shared, squeeze=False)
    axes: list[Axes] = list(grid.flat)
    for panel in axes:
        _style(panel)
    return figure, axes


def balanced_columns(count: int, most: int) -> int:
    """Columns that fill rows evenly, so that no panel is left alone.

    >>> balanced_columns(7, most=6)
    4
    """
    return math.ceil(count / math.ceil(count / most))


def title(axes: Axes, text: str) -> None:
    """Name a panel, at its left edge."""
    axes.set_title(text, loc="left", fontsize=TITLE_SIZE, color=INK, fontweight="bold", pad=6)


def label(axes: Axes, x: str = "", y: str = "") -> None:
    """Name the axes; say the unit."""
    axes.set_xlabel(x, fontsize=LABEL_SIZE, color=MUTED)
    axes.set_ylabel(y, fontsize=LABEL_SIZE, color=MUTED)


def legend(axes: Axes) -> None:
    """Explain the colours, on a veil that lets curves through."""
    axes.legend(
        facecolor=PAPER,
        edgecolor="none",
        framealpha=0.8,
        fontsize=TICK_SIZE,
        labelcolor=INK,
        handlelength=1.4,
        borderaxespad=0.2,
    )


def square(axes: Axes, extent: float) -> None:
    """Make a panel a map of the plane: equal scales, no numbers but the extent's.

    Args:
        axes: the panel.
        extent: it shows [-extent, extent]².
    """
    axes.set_xlim(-extent, extent)
    axes.set_ylim(-extent, extent)
    axes.set_aspect("equal")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(True)


def _style(axes: Axes) -> None:
    axes.set_facecolor(PAPER)
    for side, spine in axes.spines.items():
        spine.set_color(LINE)
        spine.set_linewidth(0.8)
        spine.set_visible(side in ("left", "bottom"))
    axes.tick_params(
        axis="both", which="both", labelsize=TICK_SIZE, colors=MUTED, length=2.5, width=0.6
    )
    axes.set_axisbelow(True)
