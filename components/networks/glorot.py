"""Layers that begin as those of NCSN++ do: variance 2 / (entering + leaving), bias 0.

Entering and leaving are counted over a kernel's pixels. Glorot and Bengio 2010 (PMLR 9:249), as
Ho et al., https://arxiv.org/abs/2006.11239, and Song et al., https://arxiv.org/abs/2011.13456.
PyTorch's own weights have a third of that where as much leaves as enters: a discriminator without
normalisation then passes on little of what it sees.
"""

from __future__ import annotations

from torch import nn


def convolution(entering: int, leaving: int, side: int, bias: bool = True) -> nn.Conv2d:
    """From N×entering×H×W to N×leaving×H×W.

    Args:
        entering: channels.
        leaving: channels.
        side: of the kernel, pixels, odd.
        bias: whether there is one.
    """
    layer = nn.Conv2d(entering, leaving, side, padding=side // 2, bias=bias)
    _begin(layer)
    return layer


def linear(entering: int, leaving: int) -> nn.Linear:
    """From N×entering to N×leaving."""
    layer = nn.Linear(entering, leaving)
    _begin(layer)
    return layer


def _begin(layer: nn.Conv2d | nn.Linear) -> None:
    nn.init.xavier_uniform_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
