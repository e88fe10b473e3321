"""Mode coverage of stacked digits (dissertation, 6.4.3; after PacGAN, arXiv:1712.04086).

Of all combinations of digits it is counted how many occur, and how far their frequencies are from
equal.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from components.images import to_unit

ROWS = 500


class StackedCoverage(NamedTuple):
    """How N items lie among K classes.

    Attributes:
        modes: classes that occur.
        mode_kl: KL divergence, nats, from their frequencies to equal ones: 0 to log K. Of N draws
            of a perfect model it is about (K - 1) / 2N, as frequencies of few draws are not equal.
    """

    modes: int
    mode_kl: float


@torch.no_grad()
def classes_of(classifier: nn.Module, images: Tensor) -> tuple[Tensor, int]:
    """What a classifier takes uint8 images for: N classes, on the CPU, and of how many."""
    device = next(classifier.parameters()).device
    logits = [classifier(to_unit(part.to(device))) for part in images.split(ROWS)]
    return torch.cat(logits).argmax(dim=1).cpu(), logits[0].shape[1]


def stacked_coverage(classes: Tensor, count: int) -> StackedCoverage:
    """Judge the classes of N items.

    Args:
        classes: 0..K-1, N.
        count: K.
    """
    shares = torch.bincount(classes, minlength=count).double() / len(classes)
    divergence = math.log(count) + torch.special.xlogy(shares, shares).sum().item()
    return StackedCoverage(int((shares > 0).sum()), divergence)
