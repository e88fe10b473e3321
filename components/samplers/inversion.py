"""Finding the start from which a sampler without noise reaches given items.

Short-run samplers do not forget where they began, so that images are reconstructed by optimising
x_0 through the sampler: dissertation, 5.1.1; Nijkamp et al., https://arxiv.org/abs/1904.09770.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from components.errors import UserError


class Inversion(NamedTuple):
    """The best that was found for each item.

    Attributes:
        start: x_0, N×....
        result: G(x_0), N×....
        error: mean of (G(x_0) - target)² over an item's elements, N.
    """

    start: Tensor
    result: Tensor
    error: Tensor


def invert(
    generate: Callable[[Tensor], Tensor], target: Tensor, start: Tensor, steps: int, rate: float
) -> Inversion:
    """Minimise ‖G(x_0) - target‖² over x_0 by Adam, for each item on its own.

    Args:
        generate: G, differentiable; row i of its result depends on row i alone.
        target: items to reach, N×....
        start: first x_0, N×....
        steps: Adam's steps, 1 or more.
        rate: learning rate at first, in units of x_0; it falls to 0 as half a cosine.

    Raises:
        UserError: no steps, or a rate that is not positive.
    """
    if steps < 1 or not 0.0 < rate < math.inf:
        raise UserError(f"an inversion needs steps and a rate above 0, not {steps} and {rate}")
    with torch.enable_grad():
        x = start.detach().clone().requires_grad_()
        # A short memory of the squares: gradients shrink by orders of magnitude on the way, and
        # those of the beginning would hold up the end.
        adam = torch.optim.Adam([x], lr=rate, betas=(0.9, 0.95))
        now = _judged(generate, x, target)
        best = Inversion(*(part.detach().clone() for part in now))
        for step in range(steps):
            adam.param_groups[0]["lr"] = rate * 0.5 * (1.0 + math.cos(math.pi * step / steps))
            # Of x alone: the sampler's parameters shall not gather gradients.
            (x.grad,) = torch.autograd.grad(now.error.sum(), x)
            adam.step()
            now = _judged(generate, x, target)
            best = _better(now, best)
    return best


def _judged(generate: Callable[[Tensor], Tensor], x: Tensor, target: Tensor) -> Inversion:
    result = generate(x)
    return Inversion(x, result, (result - target).square().flatten(1).mean(dim=1))


def _better(now: Inversion, best: Inversion) -> Inversion:
    """For each item the one with the smaller error, detached."""
    improved = now.error.detach() < best.error
    rows = improved.view(-1, *[1] * (now.start.dim() - 1))
    return Inversion(
        torch.where(rows, now.start.detach(), best.start),
        torch.where(rows, now.result.detach(), best.result),
        torch.where(improved, now.error.detach(), best.error),
    )
