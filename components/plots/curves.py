"""Training curves, with the step whose weights were kept."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from components.plots import look

Rows = Sequence[Mapping[str, float]]
"""Logged rows: each has ``step`` and figures by name; a row may lack some of the figures."""

STEP, ATTEMPT = "step", "attempt"
VALIDATION = "validation_"
PANEL_WIDTH, PANEL_HEIGHT = 3.4, 2.2
MOST_COLUMNS = 4
LOGARITHMIC_ABOVE = 50.0
"""Positive figures whose greatest is this many times their least are drawn on a log scale."""
SMOOTH_FROM = 60
"""Curves of at least so many rows are drawn faint, with their moving mean on top."""
SMOOTH_SHARE = 0.04
"""Width of the moving mean over the curve's length."""


def curves(rows: Rows, names: Sequence[str], title: str, mark: int | None = None) -> Figure:
    """Some figures of a training over its steps, in one panel (Figure 5.9).

    Args:
        rows: logged rows.
        names: figures to draw; they share the axis, hence the unit.
        title: of the panel.
        mark: step whose weights were kept; None marks nothing.

    Returns:
        A figure of one panel. Figures that are all positive and span more than a factor of 50 are
        on a logarithmic axis.
    """
    figure, (panel,) = look.panels(1, 1, 2 * PANEL_WIDTH, 1.4 * PANEL_HEIGHT)
    _draw(panel, rows, names, title, mark)
    return figure


def side_by_side(
    trainings: Mapping[str, Rows],
    name: str,
    title: str,
    diverged: Mapping[str, Rows] | None = None,
) -> Figure:
    """One figure of several trainings over their steps, in one panel (Figures 3.6 and 3.7).

    Args:
        trainings: label → logged rows, some of which have the figure.
        name: the figure.
        title: of the panel; say the unit.
        diverged: label → rows of the attempts that were rolled back (see `training_overview`).

    Returns:
        A figure of one panel, scaled as in `curves`.
    """
    figure, (panel,) = look.panels(1, 1, 1.5 * PANEL_WIDTH, 1.4 * PANEL_HEIGHT)
    window: list[float] = []
    for position, (shown, rows) in enumerate(trainings.items()):
        step, value = _series(rows, name)
        if len(value):
            _line(panel, step, value, name, shown, look.colour_of(shown, position))
            window += _window(value, keep_all=name.startswith(VALIDATION))
    _finish(panel, title, window)
    for shown, rows in (diverged or {}).items():
        _draw_diverged(panel, rows, [name], trainings[shown])
    look.legend(panel)
    return figure


def training_overview(
    training: Rows, validation: Rows, mark: int | None = None, diverged: Rows = ()
) -> Figure:
    """All figures of a training, those of a kind in one panel (Figure 5.9).

    Figures are of a kind if their names begin with the same word, ``validation_`` aside:
    ``energy_data`` and ``energy_chain`` share a panel, and so do ``elbo`` and ``validation_elbo``.

    Args:
        training: rows logged at the training's rhythm; none of one that diverged from the start.
        validation: rows of the held-out data, drawn with dots; may be none.
        mark: step whose weights were kept; None marks nothing.
        diverged: rows of the attempts that were rolled back, with the number of their ``attempt``;
            they do not count for the scale, and leave the panel where they run away.

    Returns:
        A figure, at most 4 panels in a row.
    """
    rows = [*training, *validation]
    seen = dict.fromkeys(name for row in (*rows, *diverged) for name in row)
    names = [name for name in seen if name not in (STEP, ATTEMPT)]
    kinds: dict[str, list[str]] = {}
    for name in names:
        kinds.setdefault(_kind(name), []).append(name)
    columns = look.balanced_columns(len(kinds), MOST_COLUMNS)
    lines = math.ceil(len(kinds) / columns)
    figure, axes = look.panels(lines, columns, PANEL_WIDTH, PANEL_HEIGHT)
    for panel, members in zip(axes, kinds.values(), strict=False):
        shown = members[0].removeprefix(VALIDATION) if len(members) == 1 else _kind(members[0])
        _draw(panel, rows, members, _spoken(shown), mark, diverged)
    for spare in axes[len(kinds) :]:
        spare.remove()
    return figure


def _kind(name: str) -> str:
    return name.removeprefix(VALIDATION).split("_")[0]


def _spoken(name: str) -> str:
    return name.replace("_", " ")


def _draw(
    panel: Axes,
    rows: Rows,
    names: Sequence[str],
    title: str,
    mark: int | None,
    diverged: Rows = (),
) -> None:
    window: list[float] = []
    for position, name in enumerate(names):
        step, value = _series(rows, name)
        if len(value):
            shown = _spoken(name) if len(names) > 1 else "_alone"
            _line(panel, step, value, name, shown, look.colour_of(name, position))
            window += _window(value, keep_all=name.startswith(VALIDATION))
    _finish(panel, title, window)
    ran_away = _draw_diverged(panel, diverged, names, rows)
    if mark is not None:
        panel.axvline(mark, color=look.INK, linewidth=0.9, linestyle=(0, (3, 2)), label="kept")
    if len(names) > 1 or mark is not None or ran_away:
        look.legend(panel)


def _draw_diverged(panel: Axes, rows: Rows, names: Sequence[str], training: Rows) -> bool:
    """Draw the attempts that were rolled back, each a line; say whether there were any.

    A line begins where the training was good last, so that it is seen to leave the panel.
    """
    shown = "diverged"
    for attempt in sorted({row[ATTEMPT] for row in rows}):
        for name in names:
            own = [row for row in rows if row[ATTEMPT] == attempt and name in row]
            good = [row for row in training if name in row and own and row[STEP] < own[0][STEP]]
            step, value = _series([*good[-1:], *own], name)
            if len(value):
                panel.plot(step, value, color=look.DIVERGED, linewidth=0.9, label=shown)
                shown = "_again"
    return shown != "diverged"


def _series(rows: Rows, name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Steps and values of a figure where it was logged and is finite."""
    points = np.array([(row[STEP], row[name]) for row in rows if name in row]).reshape(-1, 2)
    step, value = points[np.isfinite(points[:, 1])].T
    return step, value


def _finish(panel: Axes, title: str, window: list[float]) -> None:
    look.title(panel, title)
    look.label(panel, "step")
    panel.grid(axis="y", color=look.LINE, linewidth=0.5)
    if window:
        _scale(panel, min(window), max(window))


def _line(
    panel: Axes,
    step: NDArray[np.float64],
    value: NDArray[np.float64],
    name: str,
    shown: str,
    colour: str,
) -> None:
    held_out = name.startswith(VALIDATION)
    noisy = len(value) >= SMOOTH_FROM and not held_out
    panel.plot(
        step,
        value,
        color=colour,
        linewidth=0.7 if noisy else 1.3,
        alpha=0.3 if noisy else 1.0,
        marker="o" if held_out or len(value) == 1 else None,
        markersize=2.6,
        label="_faint" if noisy else shown,
    )
    if noisy:
        panel.plot(step, _moving_mean(value), color=colour, linewidth=1.4, label=shown)


def _moving_mean(value: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over a centred window, cut off at the ends."""
    half = max(round(len(value) * SMOOTH_SHARE / 2), 1)
    total = np.concatenate([[0.0], np.cumsum(value)])
    place = np.arange(len(value))
    first, end = np.maximum(place - half, 0), np.minimum(place + half + 1, len(value))
    return (total[end] - total[first]) / (end - first)


def _window(value: NDArray[np.float64], keep_all: bool) -> list[float]:
    """What the axis should show: a lone spike among many rows may leave it."""
    share = 0.0 if keep_all or len(value) < SMOOTH_FROM else 0.5
    return [float(bound) for bound in np.percentile(value, [share, 100.0 - share])]


def _scale(panel: Axes, low: float, high: float) -> None:
    if low > 0 and high / low > LOGARITHMIC_ABOVE:
        panel.set_yscale("log")
        panel.set_ylim(low / 1.2, high * 1.2)
        return
    margin = 0.06 * (high - low) or max(abs(high), 1.0) * 0.05
    panel.set_ylim(low - margin, high + margin)
