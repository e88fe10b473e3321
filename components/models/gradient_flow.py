"""The gradient flow of an energy as a generative model: noise carried down the energy for a time.

x = G_T(x₀), x₀ ~ N(0, I), dx/dt = -∇f(x): dissertation, section 5.3, Eq. 5.5 to 5.7.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from components.errors import UserError
from components.models.vae import LOG_2PI
from components.samplers.frozen import frozen
from components.samplers.gradient_flow import Backward, FlowSettings, Pulled, pull, push


class GradientFlow(nn.Module):
    """An energy and the flow down it, which has a density of its own beside exp(-f) / Z.

    Args:
        energy: maps items to N energies; low is likely. Twice differentiable: swish, not ReLU.
        shape: of an item.
        settings: T and the solver's tolerance.
    """

    def __init__(self, energy: nn.Module, shape: Sequence[int], settings: FlowSettings) -> None:
        super().__init__()
        self.energy, self.shape, self.settings = energy, tuple(shape), settings

    def noise(self, count: int, generator: torch.Generator) -> Tensor:
        """x₀: count×shape, standard normal, on the generator's device."""
        return torch.randn(count, *self.shape, generator=generator, device=generator.device)

    @torch.no_grad()
    def sample(
        self, count: int, generator: torch.Generator, settings: FlowSettings | None = None
    ) -> Tensor:
        """Draw items, count×shape.

        Args:
            count: number of items.
            generator: source of x₀.
            settings: instead of the model's own, to see what another T makes of the same noise.

        Raises:
            FlowError: the solver gave up.
        """
        return self.transport(self.noise(count, generator), settings)

    @torch.no_grad()
    def transport(self, noise: Tensor, settings: FlowSettings | None = None) -> Tensor:
        """G_T of noise, N×shape (Eq. 5.6).

        Raises:
            FlowError: the solver gave up.
        """
        with frozen(self.energy):
            return push(self.energy, noise, settings or self.settings).items

    @torch.no_grad()
    def log_prob(
        self, x: Tensor, probes: int = 0, generator: torch.Generator | None = None
    ) -> Tensor:
        """log p(x) of the flow, nats, N, by the reverse solve (Eq. 5.7).

        Args:
            x: items, N×shape.
            probes: of Hutchinson's estimate, for items of many dimensions; its noise comes with the
                result, whose mean is right. 0: the exact trace.
            generator: source of the probes.

        Raises:
            UserError: probes without a generator.
            FlowError: the solver gave up.
        """
        with frozen(self.energy):
            log_prob, _ = self.log_prob_and_way(x, probes, generator)
        return log_prob

    def log_prob_and_way(
        self,
        x: Tensor,
        probes: int = 0,
        generator: torch.Generator | None = None,
        backward: Backward = "direct",
        settings: FlowSettings | None = None,
    ) -> tuple[Tensor, Pulled]:
        """As `log_prob`, differentiable by the energy's parameters, with where the items come from.

        Args:
            x: items, N×shape.
            probes: as in `log_prob`.
            generator: as in `log_prob`.
            backward: see `pull`.
            settings: instead of the model's own.
        """
        if probes and generator is None:
            raise UserError("Hutchinson's estimate draws its probes from a generator: give one")
        directions = None
        if probes:
            size = (probes, *x.shape)
            coins = torch.randint(0, 2, size, generator=generator, device=x.device)
            directions = coins.to(x.dtype) * 2.0 - 1.0
        pulled = pull(self.energy, x, settings or self.settings, directions, backward)
        log_noise = -0.5 * (pulled.start.square() + LOG_2PI).flatten(1).sum(dim=1)
        return log_noise + pulled.gain, pulled

    @torch.no_grad()
    def log_unnormalised(self, x: Tensor) -> Tensor:
        """-f(x), N: log-density of the energy-based model up to its own -log Z."""
        energies: Tensor = self.energy(x)
        return -energies
