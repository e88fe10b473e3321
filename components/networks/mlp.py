"""Fully connected networks, for points and latent vectors."""

from __future__ import annotations

from collections.abc import Sequence

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
    ) -> None:
        super().__init__()
        if not hidden or input_scale <= 0.0:
            raise UserError("an energy of points needs a hidden layer and a positive input scale")
        self.input_scale = input_scale
        self.body = nn.Sequential(
            mlp(dim, hidden[:-1], hidden[-1], nonlinearity), activation(nonlinearity)
        )
        self.head = ScalarHead(hidden[-1])
        normalise(self, normalisation)

    def forward(self, x: Tensor) -> Tensor:
        """Map points, float32 N×D, any range, to their N energies."""
        energies: Tensor = self.head(self.body(x / self.input_scale))
        return energies
