"""What tells a network the time and the latent variable (dissertation, 6.4.7)."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn

from components.networks.glorot import linear

LONGEST = 10_000.0
"""Of the wavelengths, in steps over 2π."""


def sinusoids(t: Tensor, size: int) -> Tensor:
    """Sines and cosines of times (Vaswani et al., https://arxiv.org/abs/1706.03762).

    Args:
        t: N times, integers or between them.
        size: E, even.

    Returns:
        float32, N×E.
    """
    half = size // 2
    exponents = torch.arange(half, dtype=torch.float32, device=t.device) / max(1, half - 1)
    angles = t.float().unsqueeze(1) * torch.exp(-math.log(LONGEST) * exponents)
    return torch.cat([angles.sin(), angles.cos()], dim=1)


class TimeEmbedding(nn.Module):
    """Sinusoids and two layers with the activation between them, as of Ho et al.

    Args:
        size: of the embedding, even.
        activation: between the layers.
    """

    def __init__(self, size: int, activation: nn.Module) -> None:
        super().__init__()
        self.size = size
        self.layers = nn.Sequential(linear(size, size), activation, linear(size, size))

    def forward(self, t: Tensor) -> Tensor:
        """Map N times to N×size."""
        embedded: Tensor = self.layers(sinusoids(t, self.size))
        return embedded


class MappingNetwork(nn.Module):
    """From z to w, which every adaptive normalisation sees (StyleGAN's,
    https://arxiv.org/abs/1812.04948): z is brought to length √L, and passes layers with Swish.

    Args:
        latent: L, size of z.
        embedding: size of w.
        layers: number of layers.
    """

    def __init__(self, latent: int, embedding: int, layers: int) -> None:
        super().__init__()
        sizes = [latent] + [embedding] * layers
        stack: list[nn.Module] = []
        for entering, leaving in itertools.pairwise(sizes):
            stack += [linear(entering, leaving), nn.SiLU()]
        self.layers = nn.Sequential(*stack)

    def forward(self, z: Tensor) -> Tensor:
        """Map N×L to N×embedding."""
        length = z.square().mean(dim=1, keepdim=True).add(1e-8).rsqrt()
        w: Tensor = self.layers(z * length)
        return w
