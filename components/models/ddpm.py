"""Denoising diffusion models with many small steps (dissertation, 2.4; Ho et al.,
https://arxiv.org/abs/2006.11239), the baseline of chapter 6."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from components.errors import UserError
from components.models.denoising_gan import Drawn
from components.models.states import States
from components.samplers.denoising import Denoised, ddim, denoise, probability_flow
from components.samplers.diffusion import DiffusionProcess


@dataclass(frozen=True)
class DDPMSampler:
    """How a diffusion model is sampled, which its training does not fix.

    Attributes:
        kind: ``ancestral``: all T steps of Eq. 6.7; ``ddim``: `steps` of them; ``ode``: the
            probability flow.
        steps: of ``ddim``.
        eta: noise of ``ddim``: 0 none, 1 that of ancestral steps.
        tolerance: of ``ode``.

    Raises:
        UserError: a value is out of its range.
    """

    kind: Literal["ancestral", "ddim", "ode"] = "ancestral"
    steps: int = 100
    eta: float = 0.0
    tolerance: float = 1e-4

    def __post_init__(self) -> None:
        if self.kind not in ("ancestral", "ddim", "ode"):
            raise UserError(
                f"a diffusion model is sampled by ancestral, ddim or ode, not {self.kind}"
            )
        if self.steps < 1 or not 0.0 <= self.eta <= 1.0 or not 0.0 < self.tolerance < math.inf:
            raise UserError("a sampler needs 1 step or more, eta in [0, 1], a positive tolerance")


class DDPM(nn.Module):
    """A network that predicts the noise in x_{t+1}.

    Args:
        network: maps x_{t+1} and t to the noise in it.
        shape: of an item.
        process: of T steps.
        sampler: by which it is sampled unless another is given.
        scale: of points, see `States`.
    """

    def __init__(
        self,
        network: nn.Module,
        shape: Sequence[int],
        process: DiffusionProcess,
        sampler: DDPMSampler,
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.network, self.process, self.sampler = network, process, sampler
        self.states, self.shape = States(shape, scale), tuple(shape)

    def noise_in(self, after: Tensor, t: Tensor) -> Tensor:
        """The predicted noise, N×shape.

        Args:
            after: x_{t+1}, N×shape.
            t: N times, 0, ..., T-1 or between them.
        """
        found: Tensor = self.network(after, t)
        return found

    def step(self, after: Tensor, t: Tensor, generator: torch.Generator) -> Tensor:
        """Draw x_t given x_{t+1} (Eq. 6.7)."""
        clean = self.process.clean_from(self.noise_in(after, t), after, t)
        noise = torch.empty_like(after).normal_(generator=generator)
        return self.process.posterior(clean, after, t, noise)

    def sample(
        self,
        count: int,
        generator: torch.Generator,
        keep: Sequence[int] = (),
        sampler: DDPMSampler | None = None,
    ) -> Drawn:
        """Draw items from noise.

        Args:
            count: number of items.
            generator: source of all randomness.
            keep: times t whose x_t are returned too; of ancestral steps alone.
            sampler: another than the model's own.
        """
        how = sampler or self.sampler
        start = self.states.noise(count, generator)
        if how.kind == "ancestral":
            return self.denoised_from(start, self.process.steps, generator, keep)
        if how.kind == "ddim":
            found = ddim(self.noise_in, self.process, start, how.steps, generator, how.eta)
        else:
            found = probability_flow(self.noise_in, self.process, start, how.tolerance)
        return self._drawn(found)

    def denoised_from(
        self, state: Tensor, first: int, generator: torch.Generator, keep: Sequence[int] = ()
    ) -> Drawn:
        """Go on from x_first by ancestral steps; see `DenoisingGAN.denoised_from`."""
        return self._drawn(denoise(lambda x, t: self.step(x, t, generator), state, first, keep))

    def _drawn(self, found: Denoised) -> Drawn:
        return Drawn(self.states.items(found.state), found.along, found.nfe)
