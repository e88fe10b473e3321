"""Langevin dynamics: the negative phase of energy-based training, and sampling after it.

Dissertation, sections 2.3.2, 4.3.3 and 5.1, Eq. 5.3. Metropolis adjustment (MALA): Roberts and
Tweedie, "Exponential convergence of Langevin distributions and their discrete approximations",
Bernoulli 2(4), 1996. Short-run chains: Nijkamp et al., https://arxiv.org/abs/1904.09770.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Literal

import torch
from torch import Tensor

from components.errors import UserError
from components.samplers.field import Field, S


@dataclass(frozen=True)
class LangevinSettings:
    """How a chain moves.

    One step is, with ω ~ N(0, I) (Eq. 5.3 of the dissertation where both scales are 1),

        x ← x − (η/2) ∇U(x) + √(η · temperature) · noise_scale · ω.

    Its target, as η goes to 0, is exp(−U / τ) with τ = temperature · noise_scale². The two
    settings are apart because they say different things: the temperature that is meant, and the
    departure from it that is common in practice (noise_scale = 0 is the noise-free descent of
    Eq. 5.8, 0.1 the noisy dynamics of section 5.5.3).

    Attributes:
        steps: number of steps, at least 1.
        step_size: η, in units of the state squared over those of the energy; positive.
        noise_scale: factor of the noise alone, 0 or more.
        temperature: temperature of the target, 0 or more.
        metropolis: accept or reject each step so that the target is exp(−U / τ) at any step
            size; needs τ > 0.
        autocast: number format of the energy's evaluations; the state stays float32.
        step_size_max: with Metropolis adjustment, each chain draws its η anew at each step,
            log-uniformly from [step_size, step_size_max]: a mixture of kernels that all keep the
            target, for energies whose scales differ from place to place. None: η is step_size.
        drift_limit: with Metropolis adjustment, the longest drift of a step, in standard deviations
            √(ητ) of its noise: the truncated drift (MALTA) of Roberts and Tweedie, without which
            chains get stuck where the gradient is huge. None: no limit.

    Raises:
        UserError: a value is out of its range.
    """

    steps: int
    step_size: float
    noise_scale: float = 1.0
    temperature: float = 1.0
    metropolis: bool = False
    autocast: Literal["bfloat16"] | None = None
    step_size_max: float | None = None
    drift_limit: float | None = None

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise UserError(f"Langevin steps must be 1 or more, not {self.steps}")
        if not 0.0 < self.step_size < math.inf:
            raise UserError(f"Langevin step size must be positive, not {self.step_size}")
        for name, value in (("noise scale", self.noise_scale), ("temperature", self.temperature)):
            if not 0.0 <= value < math.inf:
                raise UserError(f"Langevin {name} must be 0 or more, not {value}")
        if self.metropolis and self.noise_scale * self.temperature == 0.0:
            raise UserError(
                "Metropolis adjustment needs noise: "
                "set noise scale and temperature above 0, or metropolis to false"
            )
        if not self.metropolis and (self.step_size_max or self.drift_limit):
            raise UserError(
                "a step size that varies and a limited drift need Metropolis adjustment: "
                "set metropolis to true, or step_size_max and drift_limit to null"
            )
        if self.step_size_max is not None and not self.step_size <= self.step_size_max < math.inf:
            raise UserError(f"step_size_max must be {self.step_size} or more")
        if self.drift_limit is not None and not self.drift_limit > 0.0:
            raise UserError(f"drift_limit must be positive, not {self.drift_limit}")
        if self.autocast not in ("bfloat16", None):
            raise UserError(f"Langevin autocast must be bfloat16 or nothing, not {self.autocast}")


@dataclass(frozen=True)
class Chain(Generic[S]):
    """What N chains leave behind.

    Attributes:
        state: the state after the last step, detached, float32, shaped as the initial one.
        kept: copies of the states asked for by `keep`, in the order of the chain.
        energies: N, float32. With Metropolis adjustment the energies of `state`; without it those
            of the state before the last step, where the last gradient was taken: the energies of
            `state` itself would cost one more forward pass.
        acceptance_rate: N, in [0, 1], the fraction of each chain's proposals that was accepted;
            None without Metropolis adjustment.
        nfe: number of network evaluations, each a forward pass and its gradient.
    """

    state: S
    kept: list[S]
    energies: Tensor
    acceptance_rate: Tensor | None
    nfe: int


def langevin(
    energy: Callable[[S], Tensor],
    state: S,
    settings: LangevinSettings,
    generator: torch.Generator,
    keep: Sequence[int] = (),
    step_sizes: Sequence[float] | None = None,
) -> Chain[S]:
    """Run N chains side by side; see `LangevinSettings` for the step.

    Gradients are taken with respect to the state alone. Wrap the call in `frozen(...)` so that the
    networks' parameters take none. Nothing waits for the device, and a non-finite energy is passed
    on, not hidden: it turns up in `energies` or in `state`.

    Args:
        energy: maps a state to N energies U, where chain i's depends on row i alone.
        state: N×..., or a tuple of such tensors that move together, as (ε_x, ε_z) do in VAEBM
            (section 4.3.3). It is not changed.
        settings: how a chain moves.
        generator: source of the noise, on the device of the state.
        keep: the step counts whose states are kept, 0 (initial) to `settings.steps` (final).
        step_sizes: one η a step, for annealed chains, in place of `settings.step_size`.

    Returns:
        The final state and what was seen on the way.

    Raises:
        UserError: `keep` or `step_sizes` does not fit the number of steps.
        ValueError: the energy's result is not N numbers.
    """
    if any(not 0 <= step <= settings.steps for step in keep):
        raise UserError(f"states kept must be of steps 0 to {settings.steps}, not {list(keep)}")
    if step_sizes is None:
        step_sizes = [settings.step_size] * settings.steps
    elif len(step_sizes) != settings.steps or any(not 0.0 < η < math.inf for η in step_sizes):
        raise UserError(f"step sizes must be {settings.steps} positive numbers")
    # Contiguous, so that the noise does not depend on the caller's memory format, and because
    # PyTorch fills contiguous memory with normal noise several times as fast.
    parts = state if isinstance(state, tuple) else (state,)
    position = tuple(
        part.detach().to(torch.float32, copy=True, memory_format=torch.contiguous_format)
        for part in parts
    )
    field = Field(energy, isinstance(state, tuple), settings.autocast)
    run = _adjusted if settings.metropolis else _unadjusted
    return run(field, position, settings, generator, frozenset(keep), step_sizes)


def _unadjusted(
    field: Field[S],
    position: tuple[Tensor, ...],
    settings: LangevinSettings,
    generator: torch.Generator,
    keep: frozenset[int],
    step_sizes: Sequence[float],
) -> Chain[S]:
    """Move without correction, in place: one gradient a step."""
    scale = math.sqrt(settings.temperature) * settings.noise_scale
    noise = tuple(torch.empty_like(part) for part in position) if scale > 0.0 else ()
    kept = [field.copy(position)] if 0 in keep else []
    energies = torch.empty(0)
    for step, step_size in enumerate(step_sizes, start=1):
        energies, gradients = field(position)
        for part, gradient in zip(position, gradients, strict=True):
            part.add_(gradient, alpha=-0.5 * step_size)
        for part, omega in zip(position, noise, strict=False):
            omega.normal_(generator=generator)
            part.add_(omega, alpha=math.sqrt(step_size) * scale)
        if step in keep:
            kept.append(field.copy(position))
    return Chain(field.pack(position), kept, energies, None, settings.steps)


def _adjusted(
    field: Field[S],
    position: tuple[Tensor, ...],
    settings: LangevinSettings,
    generator: torch.Generator,
    keep: frozenset[int],
    step_sizes: Sequence[float],
) -> Chain[S]:
    """Propose the same move and accept it with the Metropolis-Hastings probability.

    With y = x − d(x) + √(ητ) ω, d(x) = (η/2) ∇U(x) or its truncation, and D = (d(x) + d(y))/√(ητ),
    both proposal densities are Gaussian in ω, and the logarithm of the acceptance ratio is

        (U(x) − U(y))/τ + log q(x|y) − log q(y|x) = (U(x) − U(y))/τ + D·ω − |D|²/2,

    a form without the difference of two large squares. The gradient at the state that is kept is
    carried over, so that a step costs one evaluation; one more is needed at the start.
    """
    tau = settings.temperature * settings.noise_scale**2
    kept = [field.copy(position)] if 0 in keep else []
    energies, gradients = field(position)
    accepted = torch.zeros_like(energies)
    for step, step_size in enumerate(step_sizes, start=1):
        eta = _chain_step_sizes(energies, step_size, settings, generator)
        scale = (eta * tau).sqrt()
        drift = _drift(gradients, eta, scale, settings.drift_limit)
        omega = tuple(torch.empty_like(part).normal_(generator=generator) for part in position)
        proposal = tuple(
            part - d + _column(scale, w) * w
            for part, d, w in zip(position, drift, omega, strict=True)
        )
        new_energies, new_gradients = field(proposal)
        back = _drift(new_gradients, eta, scale, settings.drift_limit)
        log_ratio = (energies - new_energies) / tau
        for there, here, w in zip(drift, back, omega, strict=True):
            both = (there + here) / _column(scale, w)
            log_ratio += (both * (w - 0.5 * both)).flatten(1).sum(1)
        uniform = torch.rand(log_ratio.shape, generator=generator, device=log_ratio.device)
        # Written so that nan is accepted, and seen, while a wall (infinite energy) is refused.
        accept = ~(uniform.log_() >= log_ratio) & (new_energies != math.inf)
        position = _select(accept, proposal, position)
        gradients = _select(accept, new_gradients, gradients)
        energies = torch.where(accept, new_energies, energies)
        accepted += accept
        if step in keep:
            kept.append(field.copy(position))
    rate = accepted / settings.steps
    return Chain(field.pack(position), kept, energies, rate, settings.steps + 1)


def _chain_step_sizes(
    like: Tensor, step_size: float, settings: LangevinSettings, generator: torch.Generator
) -> Tensor:
    """η of each chain at one step, N."""
    if settings.step_size_max is None:
        return torch.full_like(like, step_size)
    uniform = torch.rand(like.shape, generator=generator, device=like.device)
    return step_size * (settings.step_size_max / settings.step_size) ** uniform


def _drift(
    gradients: tuple[Tensor, ...], eta: Tensor, scale: Tensor, limit: float | None
) -> tuple[Tensor, ...]:
    """(η/2) ∇U of each chain, shortened to `limit` times the noise's deviation `scale`."""
    factor = 0.5 * eta
    if limit is not None:
        squares = [gradient.flatten(1).square().sum(1) for gradient in gradients]
        norm = torch.stack(squares).sum(0).sqrt()
        factor = torch.minimum(factor, limit * scale / norm.clamp_min(1e-30))
    return tuple(_column(factor, gradient) * gradient for gradient in gradients)


def _column(values: Tensor, like: Tensor) -> Tensor:
    """N values in a shape that scales the rows of `like`."""
    return values.view(-1, *[1] * (like.dim() - 1))


def _select(
    mask: Tensor, chosen: tuple[Tensor, ...], other: tuple[Tensor, ...]
) -> tuple[Tensor, ...]:
    """Take row i of `chosen` where mask[i], else of `other`."""
    return tuple(torch.where(_column(mask, a), a, b) for a, b in zip(chosen, other, strict=True))
