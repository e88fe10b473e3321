"""Fully connected networks."""

from __future__ import annotations

import pytest
import torch

from components.errors import UserError
from components.networks.layers import activation
from components.networks.mlp import FullyConnectedEnergy, mlp


def test_computes_what_it_says():
    network = mlp(3, [4], 2, "relu")
    x = torch.randn(5, 3)
    first, last = network[0], network[-1]
    expected = (x @ first.weight.T + first.bias).clamp(min=0.0) @ last.weight.T + last.bias
    torch.testing.assert_close(network(x), expected)


def test_swish_is_x_times_sigmoid():
    x = torch.linspace(-5.0, 5.0, 11)
    torch.testing.assert_close(activation("swish")(x), x * torch.sigmoid(x))


def test_input_scale_divides_the_input():
    torch.manual_seed(0)
    energy = FullyConnectedEnergy(2, [8, 8], input_scale=4.0)
    x = torch.randn(5, 2)
    scaled = energy(4.0 * x)
    assert scaled.shape == (5,)
    energy.input_scale = 1.0
    torch.testing.assert_close(scaled, energy(x))


def test_energy_stays_float32_under_autocast():
    energy = FullyConnectedEnergy(2, [64])
    with torch.autocast("cpu", torch.bfloat16):
        assert energy(torch.randn(5, 2)).dtype == torch.float32


def test_wrong_settings_are_refused():
    with pytest.raises(UserError, match="known are swish"):
        mlp(2, [3], 1, "step")
    with pytest.raises(UserError, match="hidden layer"):
        FullyConnectedEnergy(2, [])
    with pytest.raises(UserError, match="unknown normalisation"):
        FullyConnectedEnergy(2, [3], normalisation="batch")
