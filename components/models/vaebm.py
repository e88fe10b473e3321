"""VAEBM: an energy-based model that tilts a frozen VAE.

p(x, z) ∝ p(z) p(x|z) exp(-f(x)), dissertation 4.3.2, Eq. 4.11; Xiao et al.,
https://arxiv.org/abs/2010.00654.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from components.errors import UserError
from components.models.vae import LOG_2PI, VAE
from components.samplers.field import State
from components.samplers.frozen import frozen
from components.samplers.langevin import LangevinSettings, langevin

Space = Literal["noise", "data"]


class Samples(NamedTuple):
    """Items and how they came to be.

    Attributes:
        items: N×shape, at the chain's end.
        noise: ε_z at the chain's end, N×L.
        along: items at the kept steps, in the order of the chain.
        acceptance: share of accepted moves of each chain (Metropolis only), N.
    """

    items: Tensor
    noise: Tensor
    along: list[Tensor]
    acceptance: Tensor | None


class VAEBM(nn.Module):
    """A frozen VAE and an energy f(x) on top of it.

    Args:
        base: the VAE; its parameters are switched off here and stay so.
        energy: maps items to N energies; low is likely.
        space: where chains run. ``noise``: over (ε_x, ε_z), in which the target is
            f(T(ε)) + ½‖ε‖² (Eq. 4.19; the Jacobian of T cancels, Eq. 4.27), the same step size
            suiting all dimensions. ``data``: over (x, z) with the target
            f(x) - log p(x|z) - log p(z), for comparison (Figure 4.19); Gaussian decoders only.

    Raises:
        UserError: chains over (x, z) of a base whose decoder is not Gaussian.
    """

    def __init__(self, base: VAE, energy: nn.Module, space: Space = "noise") -> None:
        super().__init__()
        if space == "data" and not base.noisy:
            raise UserError(
                "chains over (x, z) need a Gaussian decoder: set space to noise, or the base's "
                "likelihood to gaussian"
            )
        self.base = base.requires_grad_(False).eval()
        self.energy, self.space = energy, space

    def train(self, mode: bool = True) -> VAEBM:
        """Switch the energy's mode; the base stays in evaluation mode."""
        super().train(mode)
        self.base.eval()
        return self

    def noise(self, count: int, generator: torch.Generator, noise_z: Tensor | None = None) -> State:
        """Standard normal start of chains.

        Args:
            count: number of chains.
            generator: source of the noise.
            noise_z: ε_z to start from instead of fresh ones, count×L (from a replay buffer).

        Returns:
            ε_z, or (ε_z, ε_x) for a Gaussian decoder.
        """
        device = self.base.log_sigma.device
        if noise_z is None:
            noise_z = torch.randn(count, self.base.latent, generator=generator, device=device)
        if not self.base.noisy:
            return noise_z
        noise_x = torch.randn(count, *self.base.shape, generator=generator, device=device)
        return noise_z, noise_x

    def transport(self, noise: State) -> Tensor:
        """Items of noise, N×shape (T of Eq. 4.18)."""
        return (
            self.base.transport(*noise) if isinstance(noise, tuple) else self.base.transport(noise)
        )

    def noise_potential(self, noise: State) -> Tensor:
        """-log h(ε) up to a constant, N: f(T(ε)) + ½‖ε‖² (Eq. 4.19)."""
        parts = noise if isinstance(noise, tuple) else (noise,)
        norm = sum(part.flatten(1).square().sum(dim=1) for part in parts)
        return self.energy(self.transport(noise)) + 0.5 * norm

    def data_potential(self, state: State) -> Tensor:
        """-log p(x, z) up to a constant, N, of a state (z, x) (Eq. 4.11)."""
        z, x = state
        log_prior = -0.5 * (z.square() + LOG_2PI).sum(dim=1)
        return self.energy(x) - self.base.log_likelihood(x, self.base.decode(z)) - log_prior

    @torch.no_grad()
    def sample(
        self,
        count: int,
        generator: torch.Generator,
        settings: LangevinSettings,
        keep: Sequence[int] = (),
        noise_z: Tensor | None = None,
    ) -> Samples:
        """Run a chain for each item.

        Args:
            count: number of items.
            generator: source of the start and of the chain's noise.
            settings: of the chain.
            keep: steps after which items are returned too; 0 is the start, the base's sample.
            noise_z: starts of ε_z, count×L, instead of fresh noise.
        """
        start = self.noise(count, generator, noise_z)
        in_noise = self.space == "noise"
        potential = self.noise_potential if in_noise else self.data_potential
        state = start if in_noise else (start[0], self.transport(start))
        with frozen(self.energy, self.base):
            chain = langevin(potential, state, settings, generator, keep=keep)
        last = chain.state[0] if isinstance(chain.state, tuple) else chain.state
        items = [self._items(kept) for kept in (*chain.kept, chain.state)]
        return Samples(items[-1], last, items[:-1], chain.acceptance_rate)

    @torch.no_grad()
    def log_prob_bound(self, x: Tensor, samples: int, generator: torch.Generator) -> Tensor:
        """log p(x) up to the constant -log Z, nats, N: the base's bound minus f(x) (Eq. 4.13).

        Args:
            x: items, N×shape.
            samples: K of the base's importance-weighted bound.
            generator: source of the posterior's noise.
        """
        return self.base.log_prob_bound(x, samples, generator) - self.energy(x)

    def _items(self, state: State) -> Tensor:
        return self.transport(state) if self.space == "noise" else state[1]
