"""The finite sampler as a layered network: differentiable through all of its steps.

Short-run Langevin dynamics are a generator of K noise-injected residual layers, x_K = M_θ(x_0, u)
(dissertation, Eq. 5.4; without noise G_θ of Eq. 5.8): Nijkamp et al.,
https://arxiv.org/abs/1904.09770. Its derivatives hold second ones of the energy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from components.errors import UserError
from components.samplers.field import Field
from components.samplers.langevin import LangevinSettings


def unrolled(
    energy: Callable[[Tensor], Tensor],
    state: Tensor,
    settings: LangevinSettings,
    generator: torch.Generator,
    checkpoint: Iterable[Tensor] | None = None,
) -> Tensor:
    """Run N chains side by side and keep how they came about.

    The same moves, from the same draws, as `components.samplers.langevin.langevin`.

    Args:
        energy: maps a state to N energies, where chain i's depends on row i alone; twice
            differentiable, and not compiled: compiled code is differentiated once only.
        state: N×..., float32 or float64; it may require a gradient.
        settings: how a chain moves; without Metropolis adjustment.
        generator: source of the noise, on the device of the state.
        checkpoint: None: everything that the steps compute is kept. The parameters of the energy:
            each step's state alone is kept, and the step computed again on the way back, so that
            the memory is that of one step whatever their number. Derivatives by these parameters
            and by the state are all that there is then, of the first order. The energy must be
            the same function on the way back: nothing in it may be random or remembered.

    Returns:
        The state after the last step, a function of the state given and of the parameters that
        require a gradient.

    Raises:
        UserError: Metropolis adjustment, whose choices have no derivative.
        ValueError: the energy's result is not N numbers.
    """
    if settings.metropolis:
        raise UserError("Metropolis steps cannot be differentiated: set metropolis to false")
    field: Field[Tensor] = Field(energy, False, settings.autocast)
    drift = -0.5 * settings.step_size
    scale = math.sqrt(settings.step_size * settings.temperature) * settings.noise_scale
    parameters = None if checkpoint is None else tuple(checkpoint)
    with torch.enable_grad():
        x = state.contiguous()
        for _ in range(settings.steps):
            if parameters is None:
                (gradient,) = field.differentiable((x,))
                x = torch.add(x, gradient, alpha=drift)
            else:
                x = _Recomputed.apply(field, drift, x, *parameters)
            if scale > 0.0:
                omega = torch.empty_like(x, requires_grad=False).normal_(generator=generator)
                x = torch.add(x, omega, alpha=scale)
    return x


class _Recomputed(torch.autograd.Function):
    """One move, x + drift · ∇E(x), of which the state alone is kept.

    `torch.utils.checkpoint` would do, but not well: the gradient inside a move makes it run the
    energy once more on the way there, and keep more on the way back.
    """

    @staticmethod
    def forward(
        ctx: Any, field: Field[Tensor], drift: float, x: Tensor, *parameters: Tensor
    ) -> Tensor:
        ctx.field, ctx.drift = field, drift
        ctx.save_for_backward(x, *parameters)
        _, (gradient,) = field((x,))
        return torch.add(x, gradient, alpha=drift)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        x, *parameters = ctx.saved_tensors
        x = x.detach().requires_grad_()
        (gradient,) = ctx.field.differentiable((x,))
        if not gradient.requires_grad:  # of an energy that is linear, and whose slope is fixed
            return None, None, slope, *(None for _ in parameters)
        wanted = ctx.needs_input_grad[2:]
        inputs = [t for t, needed in zip((x, *parameters), wanted, strict=True) if needed]
        found = iter(torch.autograd.grad(gradient, inputs, ctx.drift * slope, allow_unused=True))
        by_x, *by_parameters = (next(found) if needed else None for needed in wanted)
        if wanted[0]:
            by_x = slope if by_x is None else by_x + slope
        return None, None, by_x, *by_parameters
