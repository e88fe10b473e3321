"""Grids whose rows say something: interpolations, nearest neighbours, reconstructions.

Figures 3.3 and 3.4 of the dissertation.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from components.plots.grids import GAP_VALUE, Pixels, image_grid

ASIDE = 5
"""White pixels between the samples and their neighbours, gaps of the grid aside."""


def straight_lines(starts: Tensor, ends: Tensor, points: int) -> Tensor:
    """Evenly spaced points on the straight line between two noises, ends included (Figure 3.3).

    Args:
        starts: R×D.
        ends: R×D.
        points: S of a line, at least 2.

    Returns:
        R×S×D.

    >>> straight_lines(torch.zeros(1, 1), torch.ones(1, 1), 3).flatten().tolist()
    [0.0, 0.5, 1.0]
    """
    share = torch.linspace(0.0, 1.0, points, dtype=starts.dtype, device=starts.device)
    return torch.lerp(starts[:, None], ends[:, None], share[None, :, None])


def interpolation_grid(images: ArrayLike, scale: int = 1) -> Pixels:
    """A line of images a row, from one end to the other (Figure 3.3).

    Args:
        images: uint8, R×S×C×H×W.
        scale: see `image_grid`.

    Returns:
        uint8, height×width×3.
    """
    array = np.asarray(images)
    return image_grid(array.reshape(-1, *array.shape[2:]), array.shape[1], scale)


def neighbour_grid(samples: ArrayLike, neighbours: ArrayLike, scale: int = 1) -> Pixels:
    """Each sample at the left, and its neighbours in the training set beside it (Figure 3.4).

    Args:
        samples: uint8, N×C×H×W.
        neighbours: uint8, N×k×C×H×W, nearest first.
        scale: see `image_grid`.

    Returns:
        uint8, height×width×3.
    """
    left, right = image_grid(samples, 1, scale), interpolation_grid(neighbours, scale)
    aside = np.full((len(left), ASIDE, 3), GAP_VALUE, np.uint8)
    return np.concatenate([left, aside, right], axis=1)


def reconstruction_grid(
    images: ArrayLike, reconstructions: ArrayLike, columns: int, scale: int = 1
) -> Pixels:
    """Each image above its reconstruction.

    Args:
        images: uint8, N×C×H×W, N a multiple of ``columns``.
        reconstructions: uint8, N×C×H×W.
        columns: images in a row.
        scale: see `image_grid`.

    Returns:
        uint8, height×width×3; the rows are images, reconstructions, images, ...
    """
    shape = np.shape(images)
    above, below = (
        np.asarray(each).reshape(-1, columns, *shape[1:]) for each in (images, reconstructions)
    )
    return image_grid(np.stack([above, below], axis=1).reshape(-1, *shape[1:]), columns, scale)
