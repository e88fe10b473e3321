"""Nearest training images of samples: whether a model repeats what it was shown (Figure 3.4)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from components.errors import UserError
from components.images import to_unit

# Training images held as float32 at once: 10,000 of 28×28 are 31 MB.
CHUNK = 10_000


class Neighbours(NamedTuple):
    """The k nearest training images of N samples, nearest first.

    Attributes:
        indices: int64, N×k, into the training images.
        distances: float32, N×k, Euclidean over all pixels in [0, 1].
    """

    indices: Tensor
    distances: Tensor


def nearest_neighbours(samples: Tensor, train: Tensor, k: int) -> Neighbours:
    """Find the training images that are nearest to samples by the distance of pixels.

    Args:
        samples: uint8, N×C×H×W, on the CPU.
        train: uint8, M×C×H×W, on the CPU, M >= k.
        k: neighbours of each sample.

    Returns:
        The neighbours; the order of equally distant ones is not fixed.

    Raises:
        UserError: fewer than k training images, or images of different shapes.
    """
    if samples.shape[1:] != train.shape[1:]:
        shapes = " and ".join("×".join(map(str, each.shape[1:])) for each in (samples, train))
        raise UserError(f"samples and training images should have one shape, not {shapes}")
    if len(train) < k:
        raise UserError(f"{k} neighbours need as many training images, there are {len(train)}")
    points = to_unit(samples).flatten(1)
    distances = points.new_empty(len(points), 0)
    indices = torch.empty(len(points), 0, dtype=torch.int64)
    for start in range(0, len(train), CHUNK):
        # Images that are equal are to be at distance 0, which matrix products do not promise.
        found = torch.cdist(
            points,
            to_unit(train[start : start + CHUNK]).flatten(1),
            compute_mode="donot_use_mm_for_euclid_dist",
        )
        places = torch.arange(start, start + found.shape[1]).expand_as(found)
        distances = torch.cat([distances, found], dim=1)
        indices = torch.cat([indices, places], dim=1)
        distances, order = distances.topk(min(k, distances.shape[1]), dim=1, largest=False)
        indices = indices.gather(1, order)
    return Neighbours(indices, distances)
