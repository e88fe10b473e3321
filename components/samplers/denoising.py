"""From noise back to data: few large steps, many small ones, or an ODE (dissertation, 2.4, 6.3).

A prediction of x_0 or of the noise is a function of x_{t+1} (N×...) and t (N), the time of a pair
as in `components.samplers.diffusion`. All here run without gradients.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torchdiffeq import odeint

from components.errors import UserError
from components.samplers.diffusion import DiffusionProcess

Prediction = Callable[[Tensor, Tensor], Tensor]


class Denoised(NamedTuple):
    """Where denoising arrives.

    Attributes:
        state: x_0, N×....
        along: x_t at the kept t, in the order of `keep`.
        nfe: evaluations of the network.
    """

    state: Tensor
    along: list[Tensor]
    nfe: int


@torch.no_grad()
def denoise(
    step: Callable[[Tensor, Tensor], Tensor],
    start: Tensor,
    first: int,
    keep: Sequence[int] = (),
) -> Denoised:
    """Go from x_{first} to x_0, a step at a time (Algorithm 2; of a diffusion model: ancestral).

    Args:
        step: draws x_t given x_{t+1} and t.
        start: x_{first}, N×....
        first: T for noise, less for items that are noised in part; 0 returns them.
        keep: times t whose x_t are returned too.
    """
    state, seen = start, {first: start}
    for time in range(first - 1, -1, -1):
        state = step(state, torch.full((len(state),), time, device=state.device))
        if time in keep:
            seen[time] = state
    return Denoised(state, [seen[time] for time in keep], first)


def chosen_times(process: DiffusionProcess, steps: int) -> list[int]:
    """Times that DDIM visits with a number of steps: T first, 0 last, evenly spaced.

    Raises:
        UserError: more steps than the process has, or none.
    """
    if not 1 <= steps <= process.steps:
        raise UserError(f"ddim takes 1 to {process.steps} steps here, not {steps}")
    return [round(process.steps * (steps - i) / steps) for i in range(steps + 1)]


@torch.no_grad()
def ddim(
    noise_of: Prediction,
    process: DiffusionProcess,
    start: Tensor,
    steps: int,
    generator: torch.Generator,
    eta: float = 0.0,
) -> Denoised:
    """Implicit sampling with any number of steps (Song et al., https://arxiv.org/abs/2010.02502).

    Args:
        noise_of: predicts the noise in x_{t+1}.
        process: that the network was trained for.
        start: x_T, N×....
        steps: 1, ..., T.
        generator: of the noise that comes with ``eta``.
        eta: 0: x_0 is a function of x_T; 1 with T steps: ancestral sampling.

    Raises:
        UserError: as `chosen_times`.
    """
    times = chosen_times(process, steps)
    state = start
    for now, then in itertools.pairwise(times):
        noise = noise_of(state, torch.full((len(state),), now - 1, device=state.device))
        clean = (state - process.noise[now] * noise) / process.signal[now]
        state = process.signal[then] * clean
        if not then:
            break
        # Eq. 16 of the paper; 1 - ᾱ_now/ᾱ_then is the noise that the forward process adds between.
        gained = 1.0 - (process.signal[now] / process.signal[then]).square()
        fresh = eta * process.noise[then] / process.noise[now] * gained.sqrt()
        state += (process.noise[then].square() - fresh.square()).clamp_min(0.0).sqrt() * noise
        if eta:
            state += fresh * torch.empty_like(state).normal_(generator=generator)
    return Denoised(state, [], steps)


@torch.no_grad()
def probability_flow(
    noise_of: Prediction, process: DiffusionProcess, start: Tensor, tolerance: float
) -> Denoised:
    """The probability-flow ODE, solved by dopri5 (Song et al., https://arxiv.org/abs/2011.13456).

    In y = x/√ᾱ and s = √((1-ᾱ)/ᾱ) it reads dy/ds = ε(x, t(s)), of which DDIM's are Euler steps; it
    is solved in log s, which the solver may overstep. t between the times of training is
    interpolated; the solve ends at x_1, from where a last evaluation leads to x_0.

    Args:
        noise_of: predicts the noise in x_{t+1}, for times between integers too.
        process: that the network was trained for, of 2 steps or more.
        start: x_T, N×....
        tolerance: of a step, relative and absolute.

    Raises:
        UserError: a process of one step.
    """
    if process.steps < 2:
        raise UserError("the probability-flow ODE needs a diffusion of 2 steps or more")
    logs = (process.noise[1:].double() / process.signal[1:].double()).log()
    evaluations = 0

    def noise_at(log: Tensor, y: Tensor) -> Tensor:
        nonlocal evaluations
        evaluations += 1
        state = y / (1.0 + (2.0 * log).exp()).sqrt()
        time = _interpolated(log, logs).to(start.dtype).expand(len(y))
        return noise_of(state.to(start.dtype), time).to(y.dtype)

    path = odeint(
        lambda log, y: log.exp() * noise_at(log, y),
        start.double() / process.signal[-1],
        torch.stack([logs[-1], logs[0]]),
        rtol=tolerance,
        atol=tolerance,
        method="dopri5",
    )
    state = path[-1] - logs[0].exp() * noise_at(logs[0], path[-1])
    return Denoised(state.to(start.dtype), [], evaluations)


def _interpolated(value: Tensor, knots: Tensor) -> Tensor:
    """Where in increasing knots a number lies: i at knot i, between them linearly."""
    below = torch.searchsorted(knots, value.contiguous()).clamp(1, len(knots) - 1) - 1
    share = (value - knots[below]) / (knots[below + 1] - knots[below])
    return below + share.clamp(0.0, 1.0)
