"""The range in which denoising models work, and items' own."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from components.networks.layers import centre


class States:
    """Images with their range [0, 1] stretched to [-1, 1]; points divided by a typical size.

    Args:
        shape: of an item.
        scale: typical size of a point's coordinate; images have none.
    """

    def __init__(self, shape: Sequence[int], scale: float = 1.0) -> None:
        self.shape, self.scale = tuple(shape), scale

    def of(self, items: Tensor) -> Tensor:
        """States of items, N×shape."""
        return centre(items) if len(self.shape) == 3 else items / self.scale

    def items(self, state: Tensor) -> Tensor:
        """Items of states, N×shape; images are not clipped."""
        return 0.5 * state + 0.5 if len(self.shape) == 3 else state * self.scale

    def noise(self, count: int, generator: torch.Generator) -> Tensor:
        """x_T: count×shape, standard normal, on the generator's device."""
        return torch.randn(count, *self.shape, generator=generator, device=generator.device)
