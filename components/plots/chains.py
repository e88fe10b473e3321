"""Langevin chains at their kept steps, from start to end."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from PIL import Image, ImageDraw, ImageFont

from components.plots.densities import scatter_panels
from components.plots.grids import GAP, GAP_VALUE, Pixels, image_grid
from components.plots.look import MUTED

HEADER_SHARE = 0.3
"""Height of the line of step numbers over that of an image."""


def image_chain(states: ArrayLike, steps: Sequence[int], scale: int = 1) -> Pixels:
    """One chain a row, one kept step a column, the step's number above (Figures 4.8 and 4.11).

    Args:
        states: uint8, S×n×C×H×W, 0..255, C 1 or 3: n chains at S kept steps.
        steps: S numbers of steps; 0 is the chain's start, a sample of the base.
        scale: as in `image_grid`.

    Returns:
        uint8, H'×W'×3.

    Raises:
        ValueError: there is not one step number for each state.
    """
    array = np.asarray(states)
    _same_length(array, steps)
    rows = array.swapaxes(0, 1).reshape(-1, *array.shape[2:])
    grid = image_grid(rows, len(steps), scale)
    height, width = (side * scale for side in array.shape[3:])
    return np.concatenate([_header(steps, width, height, grid.shape[1]), grid])


def point_chain(states: ArrayLike, steps: Sequence[int], extent: float) -> Figure:
    """The cloud of all chains' points, one panel a kept step (Figure 4.5, along the chain).

    Args:
        states: floating point, S×n×2: n chains at S kept steps.
        steps: S numbers of steps; 0 is the chain's start, a sample of the base.
        extent: panels show [-extent, extent]², in the data's units.

    Returns:
        A figure of S panels.

    Raises:
        ValueError: there is not one step number for each state.
    """
    array = np.asarray(states)
    _same_length(array, steps)
    clouds = {f"step {step}": points for step, points in zip(steps, array, strict=True)}
    return scatter_panels(clouds, extent, one_colour=True)


def _same_length(states: np.ndarray, steps: Sequence[int]) -> None:
    if len(states) != len(steps):
        raise ValueError(f"{len(states)} kept states have {len(steps)} step numbers")


def _header(steps: Sequence[int], width: int, height: int, total: int) -> Pixels:
    line = max(int(height * HEADER_SHARE), 10)
    strip = Image.new("RGB", (total, line), (GAP_VALUE,) * 3)
    draw, font = ImageDraw.Draw(strip), ImageFont.load_default(size=line * 0.75)
    for column, step in enumerate(steps):
        centre = column * (width + GAP) + GAP + width / 2
        draw.text((centre, line / 2), str(step), fill=MUTED, font=font, anchor="mm")
    return np.asarray(strip)
