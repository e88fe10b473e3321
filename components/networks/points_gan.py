"""Fully connected generators and discriminators of points (dissertation, 6.4.7, toy data)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from components.networks.mlp import mlp


class PointsGenerator(nn.Module):
    """Maps x_{t+1}, t and z to a point, all of them side by side at the entry.

    Args:
        dim: D, size of a point.
        hidden: sizes of the hidden layers, LeakyReLU 0.2 between them.
        latent: L, size of z; 0: none, as a diffusion model has it.
        steps: T, by which times are divided; 0: there is neither time nor x_{t+1}, and z alone is
            mapped, as by a plain GAN.
    """

    def __init__(self, dim: int, hidden: Sequence[int], latent: int, steps: int) -> None:
        super().__init__()
        self.latent, self.steps = latent, steps
        entering = latent + (dim + 1 if steps else 0)
        self.body = _FineEnds(mlp(entering, hidden, dim, "leaky_relu"))

    def forward(self, x: Tensor, t: Tensor, z: Tensor | None = None) -> Tensor:
        """Map N×D, N and N×L to N×D."""
        seen = [x, t.to(x.dtype).unsqueeze(1) / self.steps] if self.steps else []
        found: Tensor = self.body(torch.cat([*seen, *([] if z is None else [z])], dim=1))
        return found


class PointsDiscriminator(nn.Module):
    """Tells true pairs (x_t, x_{t+1}) from generated ones, or true points from generated ones.

    Args:
        dim: D, size of a point.
        hidden: sizes of the hidden layers, LeakyReLU 0.2 between them.
        steps: T, by which times are divided; 0: there is neither time nor x_{t+1}.
    """

    def __init__(self, dim: int, hidden: Sequence[int], steps: int) -> None:
        super().__init__()
        self.steps = steps
        self.body = _FineEnds(mlp(2 * dim + 1 if steps else dim, hidden, 1, "leaky_relu"))

    def forward(self, x: Tensor, t: Tensor, after: Tensor | None = None) -> Tensor:
        """Map N×D, N and N×D to logits of being true, N."""
        seen = [x]
        if self.steps and after is not None:
            seen += [after, t.to(x.dtype).unsqueeze(1) / self.steps]
        logits: Tensor = self.body(torch.cat(seen, dim=1)).squeeze(1)
        return logits


class _FineEnds(nn.Module):
    """An `mlp` whose first and last layer are float32 under autocast too.

    Coordinates in bfloat16 are as coarse as the modes of 25-Gaussians are wide; the products
    between hidden layers, nearly all of the work, may be rounded.
    """

    def __init__(self, layers: nn.Sequential) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, x: Tensor) -> Tensor:
        first, *between, last = self.layers
        with torch.autocast(x.device.type, enabled=False):
            h = first(x.float())
        for layer in between:
            h = layer(h)
        with torch.autocast(x.device.type, enabled=False):
            found: Tensor = last(h.float())
        return found
