"""Networks by name, so that an exported model's JSON can rebuild them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from torch import nn

from components.errors import UserError
from components.networks.classifier import Classifier, StackedClassifier
from components.networks.dcgan import DCGANDecoder, DCGANEncoder
from components.networks.diffusion_discriminator import DiffusionDiscriminator
from components.networks.energy_conv import ConvEnergy, StridedEnergy
from components.networks.energy_residual import ResidualEnergy
from components.networks.infogan import InfoGANDecoder, InfoGANEncoder
from components.networks.mlp import FullyConnectedEnergy, mlp
from components.networks.points_gan import PointsDiscriminator, PointsGenerator
from components.networks.unet import UNet

KINDS: Mapping[str, Callable[..., nn.Module]] = MappingProxyType(
    {
        "classifier": Classifier,
        "conv-energy": ConvEnergy,
        "dcgan-decoder": DCGANDecoder,
        "dcgan-encoder": DCGANEncoder,
        "diffusion-discriminator": DiffusionDiscriminator,
        "fully-connected-energy": FullyConnectedEnergy,
        "infogan-decoder": InfoGANDecoder,
        "infogan-encoder": InfoGANEncoder,
        "mlp": mlp,
        "points-discriminator": PointsDiscriminator,
        "points-generator": PointsGenerator,
        "residual-energy": ResidualEnergy,
        "stacked-classifier": StackedClassifier,
        "strided-energy": StridedEnergy,
        "unet": UNet,
    }
)


def build(kind: str, **settings: Any) -> nn.Module:
    """Make a network from plain settings: numbers, strings and lists.

    Args:
        kind: a key of `KINDS`.
        settings: the constructor's arguments.

    Returns:
        The network, with freshly drawn parameters (PyTorch's global generator).

    Raises:
        UserError: the kind is unknown, or a setting is missing, unknown or out of range.

    >>> build(**{"kind": "fully-connected-energy", "dim": 2, "hidden": [16]}).input_scale
    1.0
    """
    if kind not in KINDS:
        raise UserError(f"unknown network {kind!r}: known are {', '.join(sorted(KINDS))}")
    try:
        inspect.signature(KINDS[kind]).bind(**settings)
    except TypeError as error:
        raise UserError(f"network {kind}: {error}") from None
    return KINDS[kind](**settings)
