"""Small pieces that several architectures share."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from components.errors import UserError


def activation(name: str) -> nn.Module:
    """Make an activation by name.

    Swish, x·sigmoid(x), is the choice of the dissertation's energies (sections 4.4 and 5.5.3):
    it is smooth, so the gradient that moves a chain is continuous
    (https://arxiv.org/abs/1710.05941).

    Args:
        name: swish, relu, leaky_relu (slope 0.2) or tanh.

    Raises:
        UserError: the name is none of these.
    """
    match name:
        case "swish":
            return nn.SiLU()
        case "relu":
            return nn.ReLU()
        case "leaky_relu":
            return nn.LeakyReLU(0.2)
        case "tanh":
            return nn.Tanh()
    raise UserError(f"unknown activation {name!r}: known are swish, relu, leaky_relu and tanh")


def centre(images: Tensor) -> Tensor:
    """Move images from [0, 1] to [-1, 1]."""
    return images * 2.0 - 1.0


class ScalarHead(nn.Module):
    """A fully connected layer to one number, in float32 even under autocast.

    bfloat16 keeps 8 significant bits: an energy near 100 would be rounded to steps of 0.5, which
    is more than the difference between two samples.

    Args:
        features: F, size of the input.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.linear = nn.Linear(features, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Map N×F to N."""
        with torch.autocast(features.device.type, enabled=False):
            energies: Tensor = self.linear(features.float())
        return energies.squeeze(1)


class QuadraticHead(nn.Module):
    """Half the squared norm of a fully connected layer, in float32 even under autocast.

    A linear head can go on falling beyond the data: what is sharper than the data, as digits are
    sharper than clothes, then gets an energy far below all of it. This one is bounded below, and
    features larger than those of data cost energy.

    Args:
        features: F, size of the input.
        rank: size of the layer's output.
    """

    def __init__(self, features: int, rank: int = 64) -> None:
        super().__init__()
        self.linear = nn.Linear(features, rank)

    def forward(self, features: Tensor) -> Tensor:
        """Map N×F to N, each 0 or more."""
        with torch.autocast(features.device.type, enabled=False):
            energies: Tensor = 0.5 * self.linear(features.float()).square().sum(1)
        return energies
