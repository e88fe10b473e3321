"""Fully connected networks, for points and latent vectors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from components.errors import UserError
from components.networks.layers import ScalarHead, activation
from components.networks.normalisation import Normalisation, normalise


def mlp(
    in_features: int, hidden: Sequence[int], out_features: int, nonlinearity: str = "swish"
) -> nn.Sequential:
    """Make a fully connected network, N×in_features to N×out_features.

    Args:
        in_features: size of the input.
        hidden: sizes of the hidden layers, each followed by the activation; may be empty.
        out_features: size of the output, which has no activation.
        nonlinearity: a name known to `layers.activation`.

    Raises:
        UserError: the activation is unknown.

    >>> [layer.out_features for layer in mlp(2, [8, 4], 1) if isinstance(layer, nn.Linear)]
    [8, 4, 1]
    """
    layers: list[nn.Module] = []
    for size in hidden:
        layers += [nn.Linear(in_features, size), activation(nonlinearity)]
        in_features = size
    return nn.Sequential(*layers, nn.Linear(in_features, out_features))


class FourierFeatures(nn.Module):
    """Random Fourier features of points beside the points themselves.

    A fully connected network learns the fine structure of a density hardly at all from raw
    coordinates: its gradients favour low frequencies. Sines and cosines of random projections put
    the wanted frequencies in its reach (Tancik et al., https://arxiv.org/abs/2006.10739).

    Args:
        dim: D, size of a point.
        deviations: standard deviation of each group's frequencies, radians per unit of x.
        count: frequencies in a group.
    """

    frequencies: Tensor

    def __init__(self, dim: int, deviations: Sequence[float], count: int) -> None:
        super().__init__()
        groups = [deviation * torch.randn(dim, count) for deviation in deviations]
        self.register_buffer("frequencies", torch.cat(groups, dim=1))

    def forward(self, x: Tensor) -> Tensor:
        """Map N×D to N×out_features."""
        angles = x @ self.frequencies
        return torch.cat([x, angles.sin(), angles.cos()], dim=1)


class FullyConnectedEnergy(nn.Module):
    """Energy of points or latent vectors.

    Chapter 5's toy energies (section 5.5.3) are five layers with 256 hidden units and Swish:
    hidden = [256] * 4, the fifth layer being the one to the scalar.

    Args:
        dim: D, size of a point.
        hidden: sizes of the hidden layers, at least one.
        input_scale: typical size of a coordinate, in the data's own unit; the network sees
            x / input_scale.
        nonlinearity: a name known to `layers.activation`.
        normalisation: of every layer: "none", "weight" or "spectral".
        fourier: standard deviation of each group of `FourierFeatures`, radians per unit of
            x / input_scale; none: the network sees the coordinates alone.
        fourier_count: frequencies in a group.

    Raises:
        UserError: there is no hidden layer, or a setting is unknown or out of its range.
    """

    def __init__(
        self,
        dim: int,
        hidden: Sequence[int],
        input_scale: float = 1.0,
        nonlinearity: str = "swish",
        normalisation: Normalisation = "none",
        fourier: Sequence[float] = (),
        fourier_count: int = 32,
    ) -> None:
        super().__init__()
        if not hidden or input_scale <= 0.0:
            raise UserError("an energy of points needs a hidden layer and a positive input scale")
        self.input_scale = input_scale
        self.features = FourierFeatures(dim, fourier, fourier_count) if fourier else nn.Identity()
        inputs = dim + 2 * fourier_count * len(fourier)
        self.body = nn.Sequential(
            mlp(inputs, hidden[:-1], hidden[-1], nonlinearity), activation(nonlinearity)
        )
        self.head = ScalarHead(hidden[-1])
        normalise(self, normalisation)

    def forward(self, x: Tensor) -> Tensor:
        """Map points, float32 N×D, any range, to their N energies."""
        energies: Tensor = self.head(self.body(self.features(x / self.input_scale)))
        return energies
