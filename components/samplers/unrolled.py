"""The finite sampler as a layered network: differentiable through all of its steps.

Short-run Langevin dynamics are a generator of K noise-injected residual layers, x_K = M_θ(x_0, u)
(dissertation, Eq. 5.4; without noise G_θ of Eq. 5.8): Nijkamp et al.,
https://arxiv.org/abs/1904.09770. Its derivatives hold second ones of the energy.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint as recomputed

from components.errors import UserError
from components.samplers.field import Field
from components.samplers.langevin import LangevinSettings


def unrolled(
    energy: Callable[[Tensor], Tensor],
    state: Tensor,
    settings: LangevinSettings,
    generator: torch.Generator,
    checkpoint: bool = False,
) -> Tensor:
    """Run N chains side by side and keep how they came about.

    The same moves, from the same draws, as `components.samplers.langevin.langevin`.

    Args:
        energy: maps a state to N energies, where chain i's depends on row i alone; twice
            differentiable, and not compiled: compiled code is differentiated once only.
        state: N×..., float32 or float64; it may require a gradient.
        settings: how a chain moves; without Metropolis adjustment.
        generator: source of the noise, on the device of the state.
        checkpoint: keep each step's state alone, and compute its energy and gradient again on the
            way back. Memory is then that of one step whatever their number, for about half as much
            time again. The energy must be the same function then: of the same parameters, with
            nothing random or remembered in it.

    Returns:
        The state after the last step, a function of the state given and of all the energy's
        parameters that require a gradient.

    Raises:
        UserError: Metropolis adjustment, whose choices have no derivative.
        ValueError: the energy's result is not N numbers.
    """
    if settings.metropolis:
        raise UserError("Metropolis steps cannot be differentiated: set metropolis to false")
    field = Field(energy, False, settings.autocast)
    drift = -0.5 * settings.step_size
    scale = math.sqrt(settings.step_size * settings.temperature) * settings.noise_scale

    def move(x: Tensor) -> Tensor:
        (gradient,) = field.differentiable((x,))
        return torch.add(x, gradient, alpha=drift)

    with torch.enable_grad():
        x = state.contiguous()
        for _ in range(settings.steps):
            # Nothing inside is random: the states of random generators need not be restored.
            x = (
                recomputed(move, x, use_reentrant=False, preserve_rng_state=False)
                if checkpoint
                else move(x)
            )
            if scale > 0.0:
                omega = torch.empty_like(x, requires_grad=False).normal_(generator=generator)
                x = x + scale * omega
    return x
