"""Losses of generators and discriminators (dissertation, 2.5 and chapter 6)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def told_apart(true: Tensor, generated: Tensor) -> Tensor:
    """-log D(true) - log(1 - D(generated)), Eq. 6.3, of each pair; 2 log 2 where D cannot tell.

    Args:
        true: logits, N.
        generated: logits, N.

    Returns:
        N.
    """
    return functional.softplus(-true) + functional.softplus(generated)


def fooled(generated: Tensor) -> Tensor:
    """-log D(generated), what the generator of Eq. 6.5 makes small; of N logits, N."""
    return functional.softplus(-generated)


def squared_slope(logits: Tensor, x: Tensor) -> Tensor:
    """‖∇_x D‖² of each item, N, to be differentiated once more (R1 without γ/2, Eq. 6.16).

    Mescheder et al., https://arxiv.org/abs/1801.04406. Of an energy too.

    Args:
        logits: N, computed from x; or N energies.
        x: N×..., which asks for a gradient.
    """
    (slope,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
    return slope.float().square().flatten(1).sum(dim=1)


def lipschitz_penalty(slope_squared: Tensor) -> Tensor:
    """(‖∇D‖ - 1)² of N squared slopes, N (WGAN-GP, https://arxiv.org/abs/1704.00028)."""
    return ((slope_squared + 1e-12).sqrt() - 1.0).square()


def between(true: Tensor, generated: Tensor, generator: torch.Generator) -> Tensor:
    """Points on the lines from true to generated items, uniform on each, as WGAN-GP wants them."""
    shares = torch.rand(len(true), *[1] * (true.dim() - 1), generator=generator, device=true.device)
    return torch.lerp(true, generated, shares)
