"""A generator of items from a latent variable alone: vanilla GAN and Wasserstein GAN."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from components.models.denoising_gan import Drawn
from components.models.states import States


class PlainGAN(nn.Module):
    """The other end of 6.4.3's comparison: one step, no diffusion.

    Args:
        generator: maps z to a state, called as the generators of denoising GANs are.
        shape: of an item.
        latent: L, size of z.
        scale: of points, see `States`.
    """

    def __init__(
        self, generator: nn.Module, shape: Sequence[int], latent: int, scale: float = 1.0
    ) -> None:
        super().__init__()
        self.generator, self.latent = generator, latent
        self.states, self.shape = States(shape, scale), tuple(shape)

    def generate(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw states, count×shape, differentiable by the weights."""
        device = generator.device
        z = torch.randn(count, self.latent, generator=generator, device=device)
        nothing, time = z.new_zeros(count, *self.shape), z.new_zeros(count)
        found: Tensor = self.generator(nothing, time, z)
        return found

    @torch.no_grad()
    def sample(self, count: int, generator: torch.Generator, keep: Sequence[int] = ()) -> Drawn:
        """Draw items by one evaluation."""
        return Drawn(self.states.items(self.generate(count, generator)), [], 1)
