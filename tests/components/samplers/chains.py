"""What the tests of chains share: noise, an energy whose law is known."""

from __future__ import annotations

import torch
from torch import Tensor

CHAINS = 100_000
# The variance of 100,000 normal numbers has a relative standard error of 0.45 %.


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=seeded(seed))


def gaussian_energy(deviation: float):
    """U = |x|²/(2s²), whose target at temperature 1 is N(0, s²)."""
    return lambda x: x.square().sum(1) / (2.0 * deviation**2)


def discrete_variance(s: float, step_size: float, scale: float, steps: int) -> float:
    """Variance of the unadjusted chain from N(0, 1) for U = x²/(2s²).

    An AR(1) process, x ← a·x + √η·scale·ω with a = 1 − η/(2s²).
    """
    a = 1.0 - step_size / (2.0 * s**2)
    return a ** (2 * steps) + step_size * scale**2 * (1.0 - a ** (2 * steps)) / (1.0 - a**2)
