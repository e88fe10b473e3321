"""The head that bounds an energy below."""

from __future__ import annotations

import torch

from components.networks.energy_conv import StridedEnergy
from components.networks.layers import QuadraticHead


def test_it_is_half_the_squared_norm_of_its_layer() -> None:
    head = QuadraticHead(3, rank=2)
    with torch.no_grad():
        head.linear.weight.copy_(torch.tensor([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0]]))
        head.linear.bias.copy_(torch.tensor([1.0, 0.0]))
    energies = head(torch.tensor([[2.0, 3.0, 9.0], [-1.0, 0.0, 5.0]]))
    assert energies.tolist() == [0.5 * (9.0 + 36.0), 0.0]


def test_an_energy_with_it_is_never_negative() -> None:
    torch.manual_seed(0)
    images = torch.rand(16, 1, 28, 28)
    linear = StridedEnergy(1, 28, [4, 8])
    quadratic = StridedEnergy(1, 28, [4, 8], head="quadratic")
    assert quadratic(images).shape == (16,)
    assert bool((quadratic(100.0 * images) >= 0.0).all())
    assert not bool((torch.cat([linear(100.0 * images), -linear(100.0 * images)]) >= 0.0).all())
