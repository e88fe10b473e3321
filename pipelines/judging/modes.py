"""How draws cover the modes of the true density."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean, stdev

from torch import Tensor

from components.datasets.toy import ToyDensity
from components.metrics.modes import mode_coverage, scarcest_mode


def mode_figures(draws: Sequence[Tensor], truth: ToyDensity, radius: float) -> dict[str, float]:
    """Mode coverage over draws; nothing for a density without modes.

    Args:
        draws: N×2 each.
        truth: the density.
        radius: in σ of a mode; farther from every mode is off-mode.

    Returns:
        The means of `components.metrics.modes.mode_coverage`, and ``KEY_std`` for several draws.
    """
    modes = _modes(truth)
    if modes is None:
        return {}
    return over_draws([mode_coverage(x, *modes, radius)._asdict() for x in draws])


def scarcest_figures(draws: Sequence[Tensor], truth: ToyDensity) -> dict[str, float]:
    """``scarcest_mode`` over draws; nothing for a density without modes.

    Args:
        draws: N×2 each.
        truth: the density.
    """
    modes = _modes(truth)
    if modes is None:
        return {}
    return over_draws([{"scarcest_mode": scarcest_mode(x, *modes)} for x in draws])


def over_draws(found: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The means of figures, and ``KEY_std`` for several draws.

    >>> over_draws([{"modes": 24.0}, {"modes": 24.0}])
    {'modes': 24.0, 'modes_std': 0.0}
    """
    figures: dict[str, float] = {}
    for key in found[0]:
        values = [float(each[key]) for each in found]
        figures[key] = fmean(values)
        if len(values) > 1:
            figures[f"{key}_std"] = stdev(values)
    return figures


def _modes(truth: ToyDensity) -> tuple[Tensor, float] | None:
    """Centres and σ of a mixture of Gaussians."""
    centres, sigma = getattr(truth, "centres", None), getattr(truth, "sigma", None)
    return None if centres is None or sigma is None else (centres, sigma)
