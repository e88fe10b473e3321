"""What chains do when they are run for longer than in training (Figure 5.1, in numbers)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from components.plots import look

WIDTH, HEIGHT = 3.4, 2.5
LAGS_SHOWN = 0.5
"""Share of the lags that is drawn: beyond it autocorrelations are mostly noise."""


@dataclass(frozen=True)
class ChainStory:
    """One model's chains.

    Attributes:
        steps: S numbers of kept steps.
        energies: S×N, at the kept steps.
        correlation: autocorrelation of the energy, at lags of 0, 1, ... kept steps.
        multiples: by how much longer than in training chains ran, m₁, m₂, ....
        drift: distance of the items after m·K steps from those after K, for each of them.
        r_hat: of the energy.
        effective: effective sample size of the energy, as a share of the draws.
        acceptance: of Metropolis adjustment, in [0, 1]; None for chains without noise.
    """

    steps: Sequence[int]
    energies: ArrayLike
    correlation: ArrayLike
    multiples: Sequence[int]
    drift: Sequence[float]
    r_hat: float
    effective: float
    acceptance: float | None


def mixing_panels(
    stories: Mapping[str, ChainStory],
    trained_steps: int,
    floor: float | None = None,
    distance: str = "distance",
) -> Figure:
    """Energy along the chain, its autocorrelation, and how far samples drift.

    Args:
        stories: model → its chains, at least one; all kept at the same rhythm.
        trained_steps: K, marked in the first panel.
        floor: distance between two sets of samples of one law, a line in the last panel; None draws
            none.
        distance: its name, and unit.

    Returns:
        A figure of three panels; R-hat, effective sample size and acceptance are in its legend.
    """
    figure, (energy, memory, drifting) = look.panels(1, 3, WIDTH, HEIGHT)
    for position, (name, story) in enumerate(stories.items()):
        colour = look.colour_of(name, position)
        steps, energies = np.asarray(story.steps), np.asarray(story.energies, dtype=np.float64)
        low, middle, high = np.quantile(energies, [0.1, 0.5, 0.9], axis=1)
        energy.plot(steps, middle, color=colour, linewidth=1.4, label=name)
        energy.fill_between(steps, low, high, color=colour, alpha=0.15, linewidth=0)
        correlation = np.asarray(story.correlation, dtype=np.float64)
        correlation = correlation[: max(2, int(len(correlation) * LAGS_SHOWN))]
        lags = np.arange(len(correlation)) * (steps[1] - steps[0])
        memory.plot(lags, correlation, color=colour, linewidth=1.4, label=_numbers(story))
        drifting.plot(
            [1, *story.multiples],
            [0.0, *story.drift],
            color=colour,
            linewidth=1.4,
            marker="o",
            markersize=3,
            label=name,
        )
    energy.axvline(trained_steps, color=look.MUTED, linewidth=0.8, linestyle="--")
    memory.axhline(0.0, color=look.LINE, linewidth=0.8)
    if floor is not None:
        drifting.axhline(
            floor, color=look.ROLES["floor"], linewidth=0.8, linestyle=":", label="floor"
        )
    look.title(energy, "energy along the chain")
    look.label(energy, "step (dashed: as in training)", "median, 10 % to 90 %")
    look.title(memory, "autocorrelation of the energy")
    look.label(memory, "steps apart")
    look.title(drifting, "drift from the trained steps")
    look.label(drifting, "steps, in multiples of training's", distance)
    for panel in (energy, memory, drifting):
        look.legend(panel)
    return figure


def _numbers(story: ChainStory) -> str:
    """R-hat and its company in one line.

    >>> _numbers(ChainStory([], [], [], [], [], 1.234, 0.0512, None))
    'R-hat 1.23, ESS 5.1 %'
    """
    said = f"R-hat {story.r_hat:.2f}, ESS {100.0 * story.effective:.1f} %"
    if story.acceptance is None:
        return said
    return f"{said}, MALA {100.0 * story.acceptance:.0f} %"
