"""Scores of several sets over one another, and distances beside one another."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from components.plots import look

WIDTH, ROW_HEIGHT = 5.2, 1.15
BINS = 80
REACH = 6.0
"""The axis goes at most this many spreads of the reference beyond it."""
HEADROOM = 1.1
MOST_OVER_REFERENCE = 3.0
"""Bins that are taller than so many times the reference's tallest leave the panel at its top."""


def score_histogram(scores: Mapping[str, ArrayLike], xlabel: str) -> Figure:
    """Histograms of scores, each set over the first one (Figure 4.18; the laws behind Table 4.8).

    Args:
        scores: label → N_i scores; the first set is the reference and is drawn, outlined, in the
            row of every other one. Two sets make one row, as train and test do in Figure 4.18.
        xlabel: what the score is, with its unit.

    Returns:
        A figure. All rows share the axis and the bins, areas are 1. The axis ends at most 6 spreads
        (2.5-97.5 percentiles) of the reference beyond it; what lies farther is counted in the
        outermost bin, and its share is written there.
    """
    values = {name: np.asarray(score, dtype=np.float64).ravel() for name, score in scores.items()}
    (reference_name, reference), *others = values.items()
    low, high = _axis(reference, np.concatenate(list(values.values())))
    edges = np.linspace(low, high, BINS + 1)
    figure, axes = look.panels(max(len(others), 1), 1, WIDTH, ROW_HEIGHT + 0.15, shared=True)
    if len(axes) == 1:
        figure.set_figheight(2 * ROW_HEIGHT)
    outline = _heights(reference, edges)
    tallest = HEADROOM * max(_heights(score, edges)[1:-1].max() for score in values.values())
    tallest = min(tallest, MOST_OVER_REFERENCE * outline.max())
    for position, (panel, (name, score)) in enumerate(zip(axes, others, strict=False)):
        colour = look.CYCLE[position % len(look.CYCLE)]
        heights = _heights(score, edges)
        panel.stairs(heights, edges, color=colour, fill=True, alpha=0.55, label=name)
        _say_beyond(panel, score, low, high, colour)
    for panel in axes:
        panel.stairs(outline, edges, color=look.INK, linewidth=1.0, label=reference_name)
        panel.set_yticks([])
        panel.spines["left"].set_visible(False)
        panel.set_xlim(low, high)
        panel.set_ylim(0, tallest)
        look.legend(panel)
    look.label(axes[-1], xlabel)
    return figure


def bars(
    values: Mapping[str, tuple[float, float | None]], xlabel: str, floor: float | None = None
) -> Figure:
    """Distances of several models as bars (Table 4.1 as a picture).

    Args:
        values: label → value and its standard deviation over draws (None: not known).
        xlabel: which distance; say whether lower is better.
        floor: the distance of real data from real data, drawn as a line; None: not known.

    Returns:
        A figure with one bar a label, from the top.
    """
    figure, (panel,) = look.panels(1, 1, WIDTH, 0.75 + 0.36 * len(values))
    places = np.arange(len(values))[::-1]
    top = max(value + (deviation or 0.0) for value, deviation in values.values())
    for position, (place, (name, (value, deviation))) in enumerate(
        zip(places, values.items(), strict=True)
    ):
        panel.barh(place, value, height=0.62, color=look.colour_of(name, position))
        if deviation is not None:
            panel.errorbar(value, place, xerr=deviation, color=look.INK, linewidth=1, capsize=2.5)
        text = f"{value:.4g}" + (f" ± {deviation:.2g}" if deviation is not None else "")
        edge = value + (deviation or 0.0) + 0.015 * top
        panel.text(edge, place, text, va="center", fontsize=look.LABEL_SIZE, color=look.INK)
    panel.set_xlim(0, 1.25 * top if top > 0 else 1.0)
    panel.set_yticks(places, list(values), fontsize=look.LABEL_SIZE)
    panel.tick_params(axis="y", length=0, labelcolor=look.INK)
    if floor is not None:
        line = panel.axvline(floor, color=look.MUTED, linewidth=1, linestyle=(0, (3, 2)))
        line.set_label(f"floor {floor:.3g}")
        look.legend(panel)
    look.label(panel, xlabel)
    return figure


def _axis(reference: NDArray[np.float64], everything: NDArray[np.float64]) -> tuple[float, float]:
    below, above = np.percentile(reference, [2.5, 97.5])
    spread = max(above - below, 1e-9 * max(abs(above), 1.0))
    low = max(float(everything.min()), float(below - REACH * spread))
    high = min(float(everything.max()), float(above + REACH * spread))
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _heights(score: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.float64]:
    counts, _ = np.histogram(np.clip(score, edges[0], edges[-1]), edges)
    return counts / (len(score) * np.diff(edges))


def _say_beyond(
    panel: Axes, score: NDArray[np.float64], low: float, high: float, colour: str
) -> None:
    for share, place, side, text in (
        (float(np.mean(score < low)), 0.01, "left", "← {:.0%} beyond"),
        (float(np.mean(score > high)), 0.99, "right", "{:.0%} beyond →"),
    ):
        if share >= 0.005:
            panel.text(
                place,
                0.82,
                text.format(share),
                transform=panel.transAxes,
                ha=side,
                fontsize=look.TICK_SIZE,
                color=colour,
            )
