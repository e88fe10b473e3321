"""Denoising diffusion GANs (dissertation, chapter 6; Xiao et al., https://arxiv.org/abs/2112.07804).

p(x_t | x_{t+1}) is the law of the posterior q(x_t | x_{t+1}, x_0 = G(x_{t+1}, z, t)) over z
(Eq. 6.12): with a latent variable it has as many modes as it needs, so that T can be small.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from components.errors import UserError
from components.models.states import States
from components.samplers.denoising import denoise
from components.samplers.diffusion import DiffusionProcess

Predicts = Literal["clean", "previous", "noise"]


class Drawn(NamedTuple):
    """Items and how they came to be.

    Attributes:
        items: N×shape; images are not clipped to [0, 1].
        along: items' noisy states x_t at the kept t, N×shape each, as states.
        nfe: evaluations of the network for each item.
    """

    items: Tensor
    along: list[Tensor]
    nfe: int


class DenoisingGAN(nn.Module):
    """A generator, a diffusion process and what the generator's result means.

    Args:
        generator: G, maps x_{t+1}, t and z to a tensor like x_{t+1}.
        shape: of an item.
        process: of T steps.
        predicts: ``clean``: x_0, which is the model of the dissertation. Of Table 6.2:
            ``previous``: x_t itself (direct denoising); ``noise``: that in x_{t+1}.
        latent: L, size of z; 0: there is none.
        scale: of points, see `States`.

    Raises:
        UserError: an unknown prediction.
    """

    def __init__(
        self,
        generator: nn.Module,
        shape: Sequence[int],
        process: DiffusionProcess,
        predicts: Predicts = "clean",
        latent: int = 0,
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        if predicts not in ("clean", "previous", "noise"):
            raise UserError(f"a denoising GAN predicts clean, previous or noise, not {predicts}")
        self.generator, self.process = generator, process
        self.predicts, self.latent = predicts, latent
        self.states, self.shape = States(shape, scale), tuple(shape)

    def latents(self, count: int, generator: torch.Generator) -> Tensor | None:
        """z of N items, N×L, standard normal."""
        if not self.latent:
            return None
        return torch.randn(count, self.latent, generator=generator, device=generator.device)

    def clean(self, after: Tensor, t: Tensor, z: Tensor | None) -> Tensor:
        """The x_0 that is meant by the generator's result; of ``previous`` it is x_t.

        Args:
            after: x_{t+1}, N×shape.
            t: 0, ..., T-1, N.
            z: N×L.
        """
        found: Tensor = self.generator(after, t, z)
        return self.process.clean_from(found, after, t) if self.predicts == "noise" else found

    def step(
        self, after: Tensor, t: Tensor, generator: torch.Generator, noise: Tensor | None = None
    ) -> Tensor:
        """Draw x_t given x_{t+1} (Algorithm 2, lines 3 and 4), differentiable by the weights.

        Args:
            after: x_{t+1}, N×shape.
            t: 0, ..., T-1, N.
            generator: source of z, and of the posterior's noise where none is given.
            noise: the posterior's, N×shape; a model of ``previous`` has no use for it.
        """
        found = self.clean(after, t, self.latents(len(after), generator))
        if self.predicts == "previous":
            return found
        if noise is None:
            noise = torch.empty_like(found).normal_(generator=generator)
        return self.process.posterior(found, after, t, noise)

    def sample(self, count: int, generator: torch.Generator, keep: Sequence[int] = ()) -> Drawn:
        """Draw items from noise by T evaluations (Algorithm 2).

        Args:
            count: number of items.
            generator: source of all randomness.
            keep: times t whose x_t are returned too.
        """
        return self.denoised_from(
            self.states.noise(count, generator), self.process.steps, generator, keep
        )

    def denoised_from(
        self, state: Tensor, first: int, generator: torch.Generator, keep: Sequence[int] = ()
    ) -> Drawn:
        """Go on from x_first, as from strokes that were noised in part (6.4.6).

        Args:
            state: x_first, N×shape.
            first: 1, ..., T.
            generator: see `sample`.
            keep: see `sample`.
        """
        found = denoise(lambda x, t: self.step(x, t, generator), state, first, keep)
        return Drawn(self.states.items(found.state), found.along, found.nfe)

    @torch.no_grad()
    def guesses(self, after: Tensor, t: int, count: int, generator: torch.Generator) -> Tensor:
        """Draws of x_0 given x_{t+1} (Figures 6.8 and 6.14).

        Args:
            after: x_{t+1}, N×shape.
            t: 0, ..., T-1.
            count: draws of each.
            generator: source of z.

        Returns:
            Items, count×N×shape.

        Raises:
            UserError: a model of ``previous``, which has no x_0 before the last step.
        """
        if self.predicts == "previous":
            raise UserError("direct denoising predicts no x_0 before its last step")
        repeated = after.repeat(count, *[1] * (after.dim() - 1))
        times = torch.full((len(repeated),), t, device=after.device)
        found = self.clean(repeated, times, self.latents(len(repeated), generator))
        return self.states.items(found).unflatten(0, (count, len(after)))
