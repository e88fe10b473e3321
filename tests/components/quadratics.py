"""Quadratic energies, whose samplers and flows are solved in closed form."""

from __future__ import annotations

import torch
from torch import Tensor, nn

STIFFNESS, CENTRE = 1.5, -0.4
PRECISION = torch.tensor([[3.0, 1.0], [1.0, 2.0]])
CENTRE_2D = torch.tensor([0.5, -1.0])


class RoundBowl(nn.Module):
    """E(x) = a/2 · |x - m|² over the elements of an item."""

    def __init__(self) -> None:
        super().__init__()
        self.stiffness = nn.Parameter(torch.tensor(STIFFNESS))
        self.centre = nn.Parameter(torch.tensor(CENTRE))

    def forward(self, x: Tensor) -> Tensor:
        return 0.5 * self.stiffness * (x - self.centre).square().flatten(1).sum(1)


class PlaneBowl(nn.Module):
    """f(x) = ½ (x - m)ᵀ Λ (x - m); its flow is x(t) = m + exp(-Λt) (x(0) - m)."""

    def __init__(self) -> None:
        super().__init__()
        self.precision = nn.Parameter(PRECISION.clone())
        self.centre = nn.Parameter(CENTRE_2D.clone())

    def forward(self, x: Tensor) -> Tensor:
        deviation = x - self.centre
        return 0.5 * (deviation @ self.precision * deviation).sum(dim=1)
