"""How draws of points cover the modes of the true density."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, stdev

from torch import Tensor

from components.datasets.toy import ToyDensity
from components.metrics.modes import mode_coverage


def mode_figures(draws: Sequence[Tensor], truth: ToyDensity, radius: float) -> dict[str, float]:
    """Mode coverage over draws; nothing for a density without modes.

    Args:
        draws: N×2 each.
        truth: the density.
        radius: in σ of a mode; farther from every mode is off-mode.

    Returns:
        The means of `components.metrics.modes.mode_coverage`, and ``KEY_std`` for several draws.
    """
    centres, sigma = getattr(truth, "centres", None), getattr(truth, "sigma", None)
    if centres is None or sigma is None:
        return {}
    found = [mode_coverage(x, centres, sigma, radius)._asdict() for x in draws]
    figures: dict[str, float] = {}
    for key in found[0]:
        values = [float(each[key]) for each in found]
        figures[key] = fmean(values)
        if len(values) > 1:
            figures[f"{key}_std"] = stdev(values)
    return figures
