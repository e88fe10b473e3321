"""An energy-based model without a base, whose finite sampler is the generator.

Dissertation, chapter 5: noise x_0 goes through K Langevin steps, Eq. 5.3, and where it arrives is
the model's sample. The steps belong to the model: with more of them, or others, it is another
generator (5.3). Short-run dynamics: Nijkamp et al., https://arxiv.org/abs/1904.09770.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from components.errors import UserError
from components.networks.layers import centre
from components.samplers.frozen import frozen
from components.samplers.inversion import Inversion, invert
from components.samplers.langevin import LangevinSettings, langevin
from components.samplers.unrolled import unrolled


@dataclass(frozen=True)
class Start:
    """The law p_0 of x_0: the same for each coordinate of a state, which are independent.

    Attributes:
        law: ``normal``, N(0, scale²), as in chapter 5; ``uniform`` on [-scale, scale].
        scale: in units of a state's coordinates, positive.

    Raises:
        UserError: a value is out of its range.
    """

    law: Literal["normal", "uniform"] = "normal"
    scale: float = 1.0

    def __post_init__(self) -> None:
        if self.law not in ("normal", "uniform"):
            raise UserError(f"unknown law of a start {self.law!r}; known: normal, uniform")
        if not 0.0 < self.scale < math.inf:
            raise UserError(f"the scale of a start must be positive, not {self.scale}")

    def draw(self, shape: Sequence[int], generator: torch.Generator) -> Tensor:
        """Draw x_0, float32 of the given shape, on the generator's device."""
        x = torch.empty(*shape, device=generator.device)
        if self.law == "normal":
            return x.normal_(std=self.scale, generator=generator)
        return x.uniform_(-self.scale, self.scale, generator=generator)


class Generated(NamedTuple):
    """Items and how they came to be.

    Attributes:
        items: N×shape, at the chain's end; images are not clipped to [0, 1].
        state: x_K, the same in a state's coordinates.
        along: items at the kept steps, in the order of the chain.
        acceptance: share of accepted moves of each chain (Metropolis only), N.
    """

    items: Tensor
    state: Tensor
    along: list[Tensor]
    acceptance: Tensor | None


class ShortRunEBM(nn.Module):
    """An energy E and the K steps down it that generate.

    A *state* is what the chain moves: a point itself, or an image with its range [0, 1] stretched
    to [-1, 1], where standard normal noise covers it; step sizes are in these units.

    Args:
        energy: maps items (images in [0, 1]) to N energies; low is likely.
        shape: of an item.
        langevin: the sampler; noise_scale 0 makes it the map G_θ of Eq. 5.8.
        start: the law of x_0.
    """

    def __init__(
        self,
        energy: nn.Module,
        shape: Sequence[int],
        langevin: LangevinSettings,
        start: Start,
    ) -> None:
        super().__init__()
        self.energy, self.shape = energy, tuple(shape)
        self.langevin, self.start = langevin, start

    def to_state(self, items: Tensor) -> Tensor:
        """States of items, N×shape."""
        return centre(items) if self._of_images else items

    def to_items(self, state: Tensor) -> Tensor:
        """Items of states, N×shape."""
        return 0.5 * state + 0.5 if self._of_images else state

    def potential(self, state: Tensor) -> Tensor:
        """Energies of states, N."""
        energies: Tensor = self.energy(self.to_items(state))
        return energies

    def noise(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw x_0, count×shape."""
        return self.start.draw((count, *self.shape), generator)

    @torch.no_grad()
    def generate(
        self,
        state: Tensor,
        generator: torch.Generator,
        settings: LangevinSettings | None = None,
        keep: Sequence[int] = (),
    ) -> Generated:
        """Run a chain from each x_0 that is given.

        Args:
            state: x_0, N×shape; not changed.
            generator: source of the chain's noise.
            settings: of another chain than the model's own, to see what the model's is worth.
            keep: steps after which items are returned too; 0 is the start.
        """
        with frozen(self.energy):
            chain = langevin(self.potential, state, settings or self.langevin, generator, keep=keep)
        along = [self.to_items(kept) for kept in chain.kept]
        return Generated(self.to_items(chain.state), chain.state, along, chain.acceptance_rate)

    def sample(
        self,
        count: int,
        generator: torch.Generator,
        settings: LangevinSettings | None = None,
        keep: Sequence[int] = (),
    ) -> Generated:
        """Draw items: `generate` from `noise`.

        Args:
            count: number of items.
            generator: source of the start and of the chain's noise.
            settings: see `generate`.
            keep: see `generate`.
        """
        return self.generate(self.noise(count, generator), generator, settings, keep)

    def unroll(
        self,
        state: Tensor,
        generator: torch.Generator,
        checkpoint: bool = False,
        settings: LangevinSettings | None = None,
    ) -> Tensor:
        """x_K as a function of x_0 and of the energy's parameters; see `unrolled`.

        Args:
            state: x_0, N×shape.
            generator: source of the chain's noise.
            checkpoint: whether to bound the memory by computing steps again on the way back.
            settings: of another chain than the model's own.
        """
        with parametrize.cached():
            return unrolled(
                # Past `__call__`, behind which a compiled network would be.
                lambda x: self.energy.forward(self.to_items(x)),
                state,
                settings or self.langevin,
                generator,
                list(self.energy.parameters()) if checkpoint else None,
            )

    def interpolate(
        self, first: Tensor, second: Tensor, ratios: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Generate from starts between two: z_ρ = ρ z₁ + √(1-ρ²) z₂ (5.1.1).

        z_ρ has the law of z₁ and z₂ where that is normal.

        Args:
            first: z₁, N×shape.
            second: z₂, N×shape.
            ratios: ρ, R numbers in [0, 1]; 1 is the first start, 0 the second.
            generator: source of the chain's noise.

        Returns:
            Items, R×N×shape.

        Raises:
            UserError: the model's starts are not normal.
        """
        if self.start.law != "normal":
            raise UserError(f"starts are interpolated if they are normal, not {self.start.law}")
        rho = ratios.view(-1, *[1] * first.dim())
        between = rho * first + (1.0 - rho.square()).sqrt() * second
        return self.generate(between.flatten(0, 1), generator).items.view(between.shape)

    def reconstruct(
        self,
        items: Tensor,
        generator: torch.Generator,
        steps: int,
        rate: float,
        checkpoint: bool = False,
    ) -> Inversion:
        """Find the x_0 from which the sampler, its noise left out, comes nearest to given items.

        Args:
            items: N×shape.
            generator: source of the first x_0.
            steps: of the search.
            rate: its learning rate, in a state's units; see `invert`.
            checkpoint: see `unroll`.

        Returns:
            Starts, the items that they lead to, and the mean square errors of items.
        """
        settings = replace(self.langevin, noise_scale=0.0)
        with frozen(self.energy):
            return invert(
                lambda x: self.to_items(self.unroll(x, generator, checkpoint, settings)),
                items,
                self.noise(len(items), generator),
                steps,
                rate,
            )

    @property
    def _of_images(self) -> bool:
        return len(self.shape) == 3
