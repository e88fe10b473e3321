"""Blocks of the U-Net of NCSN++ (Song et al., https://arxiv.org/abs/2011.13456, appendix H)."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from components.networks.fir import Downsample, Upsample
from components.networks.glorot import convolution, linear
from components.networks.group_norm import GroupNorm, groups_of

HALF = 1.0 / math.sqrt(2.0)
"""Of a sum of two branches, whose variance stays that of one."""

Resampling = Literal["none", "up", "down"]


def resampling(kind: Resampling) -> nn.Module:
    """By the filter of `fir`, or not at all."""
    return {"none": nn.Identity, "up": Upsample, "down": Downsample}[kind]()


class ResidualBlock(nn.Module):
    """BigGAN's: normalise, bend, resample, convolve, twice over, beside what skips it.

    Args:
        entering: channels of x.
        leaving: channels of the result.
        time: size of the time embedding.
        embedding: size of w, None for plain normalisation.
        resample: of both branches, between the first normalisation and convolution.
        dropout: probability, before the second convolution.
    """

    def __init__(
        self,
        entering: int,
        leaving: int,
        time: int,
        embedding: int | None,
        resample: Resampling = "none",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.entry = GroupNorm(entering, groups_of(entering), embedding)
        self.resample = resampling(resample)
        self.first = convolution(entering, leaving, 3)
        self.time = linear(time, leaving)
        self.middle = GroupNorm(leaving, groups_of(leaving), embedding)
        self.dropout = nn.Dropout(dropout)
        self.second = _nearly_nothing(convolution(leaving, leaving, 3))
        changes = entering != leaving or resample != "none"
        self.skip = convolution(entering, leaving, 1) if changes else nn.Identity()

    def forward(self, x: Tensor, time: Tensor, w: Tensor | None) -> Tensor:
        """Map N×entering×H×W, N×time and N×embedding to N×leaving×H'×W'."""
        h = self.first(self.resample(functional.silu(self.entry(x, w))))
        h = h + self.time(functional.silu(time))[:, :, None, None]
        h = self.second(self.dropout(functional.silu(self.middle(h, w))))
        together: Tensor = self.skip(self.resample(x)) + h
        return HALF * together


class Attention(nn.Module):
    """One head of attention over all pixels, beside what skips it.

    Args:
        channels: of the map.
        embedding: size of w, None for plain normalisation.
    """

    def __init__(self, channels: int, embedding: int | None) -> None:
        super().__init__()
        self.entry = GroupNorm(channels, groups_of(channels), embedding)
        self.queries = linear(channels, 3 * channels)
        self.result = _nearly_nothing(linear(channels, channels))

    def forward(self, x: Tensor, w: Tensor | None) -> Tensor:
        """Map N×C×H×W to the same."""
        pixels = self.entry(x, w).flatten(2).transpose(1, 2)
        query, key, value = self.queries(pixels).unsqueeze(1).chunk(3, dim=3)
        seen = functional.scaled_dot_product_attention(query, key, value).squeeze(1)
        h = self.result(seen).transpose(1, 2).unflatten(2, x.shape[2:])
        together: Tensor = x + h
        return HALF * together


def _nearly_nothing(layer: nn.Conv2d | nn.Linear) -> nn.Conv2d | nn.Linear:
    """So that a fresh block is its skip: deep stacks of them train from the first step on."""
    with torch.no_grad():
        layer.weight.mul_(1e-5)
    return layer
