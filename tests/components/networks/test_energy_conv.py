"""Convolutional energies against Table 5.2."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from components.errors import UserError
from components.networks.energy_conv import ConvEnergy, StridedEnergy


def convolutions(network: nn.Module) -> list[tuple[int, int, int]]:
    """Filters, kernel and stride of each convolution."""
    return [
        (module.out_channels, module.kernel_size[0], module.stride[0])
        for module in network.modules()
        if isinstance(module, nn.Conv2d)
    ]


@pytest.mark.parametrize(
    ("channels", "size", "width", "multipliers", "filters", "flat"),
    [
        (1, 32, 32, [1, 2, 2, 2], [32, 64, 64, 64], 64 * 4 * 4),
        (3, 32, 64, [1, 2, 4, 8], [64, 128, 256, 512], 512 * 4 * 4),
        (3, 64, 32, [1, 2, 4, 8, 16], [32, 64, 128, 256, 512], 512 * 4 * 4),
    ],
    ids=["mnist", "cifar10", "celeba"],
)
def test_table_5_2(channels, size, width, multipliers, filters, flat):
    energy = ConvEnergy(channels, size, width, multipliers)
    shapes = [(3, 1)] + [(4, 2)] * (len(filters) - 1)
    assert convolutions(energy) == [(f, *s) for f, s in zip(filters, shapes, strict=True)]
    assert energy.head.linear.in_features == flat
    assert sum(isinstance(m, nn.SiLU) for m in energy.modules()) == len(filters)
    assert energy(torch.rand(2, channels, size, size)).shape == (2,)


def test_strided_energy():
    energy = StridedEnergy(1, 28, [4, 8, 8], kernel=3, stride=2)
    assert convolutions(energy) == [(4, 3, 2), (8, 3, 2), (8, 3, 2)]
    assert energy(torch.rand(2, 1, 28, 28)).shape == (2,)


def test_images_are_centred():
    """Grey ½ is 0 inside: without biases its energy is exactly 0, and no other grey's is."""
    energy = ConvEnergy(1, 8, 4, [1, 2])
    for module in energy.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.zeros_(module.bias)
    greys = energy(torch.tensor([0.0, 0.5, 1.0]).view(3, 1, 1, 1).expand(3, 1, 8, 8))
    assert greys[1] == 0.0 and greys[0] != 0.0 and greys[2] != 0.0


def test_rows_are_independent_in_any_memory_format_and_precision():
    torch.manual_seed(0)
    energy = ConvEnergy(3, 16, 8, [1, 2, 2])
    x = torch.rand(6, 3, 16, 16)
    whole = energy(x)
    torch.testing.assert_close(energy(x[2:4]), whole[2:4])
    fast = energy.to(memory_format=torch.channels_last)
    torch.testing.assert_close(fast(x.to(memory_format=torch.channels_last)), whole)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = fast(x)
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded, whole, rtol=0.0, atol=0.02)


@pytest.mark.parametrize("normalisation", ["weight", "spectral"])
def test_every_layer_is_normalised(normalisation):
    energy = StridedEnergy(1, 8, [4, 8], normalisation=normalisation)
    layers = [m for m in energy.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(layers) == 3
    assert all(parametrize.is_parametrized(layer, "weight") for layer in layers)


def test_impossible_layouts_are_refused():
    with pytest.raises(UserError, match="too many for 8 pixels"):
        StridedEnergy(1, 8, [4] * 4)
    with pytest.raises(UserError, match="one multiplier"):
        ConvEnergy(1, 8, 4, [])
