"""What a sweep shows: the metric over the settings that were varied, and over its cost."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from components.plots import look

Values = Sequence[float]
"""One number a trial; NaN where there is none."""
MOST_CELLS = 12
"""Of a side of the map."""
CELL_WIDTH, CELL_HEIGHT = 0.78, 0.5
PANEL_WIDTH, PANEL_HEIGHT = 3.4, 2.6
MOST_COLUMNS = 3
LETTERS = 12
"""Of a headline, an inch."""
LOGARITHMIC_ABOVE = 8.0
"""Positive numbers whose greatest is this many times their least are drawn on a log scale."""
MOST_LINES = len(look.CYCLE)
MISSING = "#eceef1"


def metric_over_settings(
    settings: Mapping[str, Sequence[Any]], metric: Values, measure: str, best: int
) -> Figure:
    """The metric against the settings: a map of two settings on a grid, else a panel a setting.

    Args:
        settings: name → its value in each trial; numbers, or anything with a name.
        metric: of each trial; NaN for one that failed or diverged. Lower is better.
        measure: what the metric is.
        best: number of the trial to mark.

    Returns:
        A figure. On the map, cells of trials without a metric are grey and crossed.
    """
    found = np.asarray(metric, dtype=np.float64)
    axes = [_distinct(values) for values in settings.values()]
    cells = {tuple(map(str, row)) for row in zip(*settings.values(), strict=True)}
    full = len(axes) == 2 and len(cells) == len(axes[0]) * len(axes[1]) == len(found)
    if full and min(map(len, axes)) > 1 and max(map(len, axes)) <= MOST_CELLS:
        return _map(settings, axes, found, measure, best)
    return _panels(settings, found, measure, best)


def quality_cost(
    cost: Values,
    metric: Values,
    deviation: Values,
    groups: Sequence[str],
    measure: str,
    cost_name: str,
) -> Figure:
    """The metric against the cost of sampling, with the best that each cost buys (Figure 6.6).

    Args:
        cost: of each trial, such as the NFE of a sample; NaN where it is not known.
        metric: of each trial; NaN where there is none. Lower is better.
        deviation: of the metric, drawn as error bars; NaN or 0 for none.
        groups: of each trial, what tells it from the others of its cost (``step_size 0.1``);
            trials of a group are joined by a line. More groups than colours are dots alone.
        measure: what the metric is.
        cost_name: what the cost is.

    Returns:
        A figure of one panel. The dark line is the frontier: the lowest metric at each cost or
        below.
    """
    figure, (panel,) = look.panels(1, 1, 5.6, 3.6)
    x, y, spread = (np.asarray(values, dtype=np.float64) for values in (cost, metric, deviation))
    there = np.isfinite(x) & np.isfinite(y)
    names = list(dict.fromkeys(groups))
    lines = 1 < len(names) <= MOST_LINES
    for position, name in enumerate(names if lines else [""]):
        own = there & np.array([not lines or group == name for group in groups])
        order = np.argsort(x[own])
        panel.errorbar(
            x[own][order],
            y[own][order],
            yerr=np.nan_to_num(spread[own][order]),
            color=look.CYCLE[position],
            linewidth=1.1 if lines else 0.0,
            elinewidth=0.9,
            marker="o",
            markersize=3.6,
            label=name if lines else "trials",
        )
    _frontier(panel, x[there], y[there])
    panel.grid(axis="y", color=look.LINE, linewidth=0.5)
    _scale(panel.set_xscale, x[there])
    _scale(panel.set_yscale, y[there])
    if panel.get_xscale() == "log":
        _ticks(panel, x[there])
    _headline(figure, measure)
    look.label(panel, cost_name)
    look.legend(panel)
    return figure


def _frontier(panel: Axes, x: NDArray[np.float64], y: NDArray[np.float64]) -> None:
    """Steps down: the lowest metric at each cost or below."""
    order = np.lexsort((y, x))
    lowest = np.minimum.accumulate(y[order])
    panel.step(
        x[order],
        lowest,
        where="post",
        color=look.INK,
        linewidth=1.6,
        alpha=0.6,
        zorder=1,
        label="best at this cost",
    )


def _map(
    settings: Mapping[str, Sequence[Any]],
    axes: Sequence[list[Any]],
    metric: NDArray[np.float64],
    measure: str,
    best: int,
) -> Figure:
    (x_name, x_values), (y_name, y_values) = settings.items()
    columns, rows = axes
    grid = np.full((len(rows), len(columns)), np.nan)
    for x, y, value in zip(x_values, y_values, metric, strict=True):
        grid[rows.index(y), columns.index(x)] = value
    figure, (panel,) = look.panels(
        1, 1, 2.2 + CELL_WIDTH * len(columns), 1.5 + CELL_HEIGHT * len(rows)
    )
    panel.set_facecolor(MISSING)
    finite = grid[np.isfinite(grid)]
    norm = LogNorm() if _spans(finite) else Normalize()
    mesh = panel.pcolormesh(grid, cmap=f"{look.DENSITY_COLOURS}_r", norm=norm)
    shades = norm(grid)
    for row, column in np.ndindex(grid.shape):
        value = float(grid[row, column])
        dark = np.isfinite(value) and shades[row, column] < 0.5
        panel.text(
            column + 0.5,
            row + 0.5,
            _measured(value) if np.isfinite(value) else "×",
            ha="center",
            va="center",
            fontsize=look.LABEL_SIZE,
            color=look.PAPER if dark else look.INK,
        )
    corner = (columns.index(x_values[best]), rows.index(y_values[best]))
    mark = Rectangle(corner, 1, 1, fill=False, edgecolor=look.BASE, linewidth=2.0, clip_on=False)
    panel.add_patch(mark)
    panel.set_xticks(np.arange(len(columns)) + 0.5, [_spoken(value) for value in columns])
    panel.set_yticks(np.arange(len(rows)) + 0.5, [_spoken(value) for value in rows])
    _headline(figure, measure)
    look.label(panel, x_name, y_name)
    bar = figure.colorbar(mesh, ax=panel)
    bar.ax.tick_params(labelsize=look.TICK_SIZE, colors=look.MUTED)
    bar.outline.set_visible(False)
    return figure


def _panels(
    settings: Mapping[str, Sequence[Any]],
    metric: NDArray[np.float64],
    measure: str,
    best: int,
) -> Figure:
    columns = look.balanced_columns(len(settings), MOST_COLUMNS)
    lines = math.ceil(len(settings) / columns)
    figure, axes = look.panels(lines, columns, PANEL_WIDTH, PANEL_HEIGHT)
    _headline(figure, measure)
    there = np.isfinite(metric)
    for panel, (name, values) in zip(axes, settings.items(), strict=False):
        x = _places(panel, values)
        panel.scatter(x[there], metric[there], s=16, color=look.COMPOSITION, label="trials")
        edge = panel.get_xaxis_transform()
        for place in x[~there]:
            # A trial without a metric stands on the upper edge, at its setting.
            panel.plot(place, 1.0, "x", color=look.MUTED, clip_on=False, transform=edge)
        panel.scatter(
            x[best], metric[best], s=60, facecolors="none", edgecolors=look.BASE, label="best"
        )
        _scale(panel.set_yscale, metric[there])
        panel.grid(axis="y", color=look.LINE, linewidth=0.5)
        look.label(panel, name)
    for spare in axes[len(settings) :]:
        spare.remove()
    look.legend(axes[0])
    return figure


def _headline(figure: Figure, measure: str) -> None:
    """Name what all panels show, in as many lines as the figure's width wants."""
    text = textwrap.fill(
        f"{measure} (lower is better)", int(figure.get_figwidth() * LETTERS), break_on_hyphens=False
    )
    style = {"fontsize": look.TITLE_SIZE, "fontweight": "bold", "color": look.INK}
    figure.suptitle(text, x=0.01, ha="left", **style)


def _places(panel: Axes, values: Sequence[Any]) -> NDArray[np.float64]:
    """Where values are on the axis: numbers by their size, names side by side."""
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        x = np.asarray(values, dtype=np.float64)
        _scale(panel.set_xscale, x)
        return x
    names = _distinct(values)
    panel.set_xticks(range(len(names)), [_spoken(name) for name in names])
    return np.array([names.index(value) for value in values], dtype=np.float64)


def _distinct(values: Sequence[Any]) -> list[Any]:
    """Values without repetitions, numbers in their order."""
    found = list({str(value): value for value in values}.values())
    numbers = all(isinstance(value, int | float) for value in found)
    return sorted(found) if numbers else found


def _spans(values: NDArray[np.float64]) -> bool:
    return len(values) > 0 and values.min() > 0 and values.max() / values.min() > LOGARITHMIC_ABOVE


def _scale(set_scale: Any, values: NDArray[np.float64]) -> None:
    if _spans(values):
        set_scale("log")


def _ticks(panel: Axes, values: NDArray[np.float64]) -> None:
    """Whole costs written at their places, if there are few."""
    distinct = np.unique(values)
    if len(distinct) <= MOST_CELLS:
        panel.set_xticks(distinct, [f"{value:g}" for value in distinct])
        panel.set_xticks([], minor=True)


def _measured(value: float) -> str:
    """Three digits, of a thousand and more all before the point."""
    return f"{value:,.0f}" if abs(value) >= 999.5 else f"{value:.3g}"


def _spoken(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
