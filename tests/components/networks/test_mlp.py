"""Fully connected networks."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from components.errors import UserError
from components.networks.layers import activation
from components.networks.mlp import FourierFeatures, FullyConnectedEnergy, mlp


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


def points(count: int = 5, dim: int = 2) -> torch.Tensor:
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(0))


def test_fourier_features_are_the_point_and_its_waves():
    features = FourierFeatures(2, [1.0, 3.0], 2)
    features.frequencies.copy_(torch.tensor([[1.0, 0.0, 2.0, -1.0], [0.0, 0.5, 1.0, 3.0]]))
    x, y = 0.3, -0.7
    angles = [x, 0.5 * y, 2.0 * x + y, -x + 3.0 * y]
    expected = [x, y, *map(math.sin, angles), *map(math.cos, angles)]
    torch.testing.assert_close(features(torch.tensor([[x, y]])), torch.tensor([expected]))


def test_frequencies_have_the_deviations_of_their_groups():
    torch.manual_seed(0)
    frequencies = FourierFeatures(3, [0.5, 2.0, 27.0], 4000).frequencies
    assert frequencies.shape == (3, 12_000)
    for group, deviation in zip(frequencies.split(4000, dim=1), [0.5, 2.0, 27.0], strict=True):
        torch.testing.assert_close(group.std(1), torch.full((3,), deviation), rtol=0.05, atol=0.0)
        assert group.mean().abs() < 0.05 * deviation


def test_fourier_features_see_the_scaled_point():
    torch.manual_seed(0)
    energy = FullyConnectedEnergy(2, [8], input_scale=4.0, fourier=[1.0, 5.0], fourier_count=3)
    assert energy.features(points()).shape == (5, 2 + 2 * 3 * 2)
    scaled = energy(4.0 * points())
    energy.input_scale = 1.0
    torch.testing.assert_close(scaled, energy(points()))


def test_frequencies_are_saved_and_not_learned():
    energy, other = (FullyConnectedEnergy(2, [8], fourier=[3.0]) for _ in range(2))
    assert not torch.equal(energy(points()), other(points()))
    assert "features.frequencies" not in dict(energy.named_parameters())
    other.load_state_dict(energy.state_dict())
    assert torch.equal(energy(points()), other(points()))


def test_without_fourier_the_network_sees_the_point_alone():
    energy = FullyConnectedEnergy(2, [8])
    assert torch.equal(energy.features(points()), points())
    assert energy.body[0][0].in_features == 2


def test_fourier_features_bring_fine_structure_within_reach():
    """A wave of 20 radians a unit: raw coordinates leave nearly all of it after 150 steps."""

    def unexplained(fourier: list[float]) -> float:
        torch.manual_seed(0)
        energy = FullyConnectedEnergy(1, [32, 32], fourier=fourier)
        adam = torch.optim.Adam(energy.parameters(), lr=0.01)
        x = torch.linspace(-2.0, 2.0, 256)[:, None]
        wave = torch.sin(20.0 * x[:, 0])
        for _ in range(150):
            adam.zero_grad()
            loss = (energy(x) - wave).square().mean()
            loss.backward()
            adam.step()
        return (loss / wave.var()).item()

    assert unexplained([20.0]) < 0.1
    assert unexplained([]) > 0.8


def test_energies_of_chapter_5_have_five_layers():
    energy = FullyConnectedEnergy(2, [256] * 4)
    layers = [m for m in energy.modules() if isinstance(m, nn.Linear)]
    assert [layer.out_features for layer in layers] == [256] * 4 + [1]
    assert sum(isinstance(m, nn.SiLU) for m in energy.modules()) == 4
