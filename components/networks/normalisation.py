"""Weight normalisation with data-dependent initialisation, and spectral normalisation.

VAEBM's energies are weight-normalised (dissertation, appendix of chapter 4, "Network for energy
function"); spectral normalisation is what they are compared with.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

from components.errors import UserError

Normalisation = Literal["none", "weight", "spectral"]


def weighted_layers(network: nn.Module) -> list[tuple[str, nn.Conv2d | nn.Linear]]:
    """Return the network's convolutions and fully connected layers with their names."""
    return [
        (name, module)
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
    ]


def normalise(network: nn.Module, kind: Normalisation) -> None:
    """Reparametrise every convolution and fully connected layer of the network, in place.

    "weight": W = g·v/|v| for each output channel (Salimans and Kingma,
    https://arxiv.org/abs/1602.07868); call `initialise_from` before training.
    "spectral": W = v/σ(v), σ the largest singular value of the weight reshaped to
    (out, in·height·width) (Miyato et al., https://arxiv.org/abs/1802.05957); its power iteration
    advances by one at each forward pass in training mode.

    Args:
        network: changed in place.
        kind: "none", "weight" or "spectral".

    Raises:
        UserError: the kind is unknown.
    """
    if kind not in ("none", "weight", "spectral"):
        raise UserError(f"unknown normalisation {kind!r}: known are none, weight and spectral")
    for _, layer in weighted_layers(network):
        if kind == "weight":
            parametrizations.weight_norm(layer)
        elif kind == "spectral":
            parametrizations.spectral_norm(layer)


def _is_weight_normalised(layer: nn.Module) -> bool:
    parametrised = parametrize.is_parametrized(layer, "weight")
    return parametrised and hasattr(cast(Any, layer).parametrizations.weight, "original0")


def remembers(network: nn.Module) -> bool:
    """Whether a forward pass in training mode leaves spectral normalisation another one."""
    return any(
        parametrize.is_parametrized(layer, "weight")
        and hasattr(cast(Any, layer).parametrizations.weight[0], "_u")
        for _, layer in weighted_layers(network)
    )


def _own(mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
    return mean, variance


@torch.no_grad()
def initialise_from(
    network: nn.Module,
    batch: Tensor,
    pool: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] = _own,
) -> None:
    """Set gains and biases of the weight-normalised layers from one batch, in place.

    Afterwards each such layer's output has mean 0 and variance 1 in every channel over that batch
    (and over positions, in a convolution), the layers before it being initialised already: section
    3 of Salimans and Kingma, https://arxiv.org/abs/1602.07868. Other layers are left alone.

    Args:
        network: whose layers `normalise(..., "weight")` has reparametrised.
        batch: input of the network, two different rows or more.
        pool: turns the means and variances over this batch into those over the batches of all
            workers; default: there is but this one.

    Raises:
        UserError: a channel is constant over the batch.
    """

    def rescale(name: str, layer: Any, output: Tensor) -> Tensor:
        dims = (0, 2, 3) if output.dim() == 4 else (0,)
        variance, mean = torch.var_mean(output.float(), dims, correction=0)
        mean, variance = pool(mean, variance)
        if not bool((variance > 0.0).all()):
            raise UserError(f"data-dependent initialisation: {name} is constant over the batch")
        deviation = variance.sqrt()
        gain = layer.parametrizations.weight.original0
        gain.div_(deviation.view(-1, *[1] * (gain.dim() - 1)))
        layer.bias.sub_(mean).div_(deviation)
        shape = (1, -1, *[1] * (output.dim() - 2))
        return (output - mean.view(shape)) / deviation.view(shape)

    # A layer is corrected as the batch passes it, so that one forward pass does for all.
    hooks = [
        layer.register_forward_hook(lambda module, _, out, name=name: rescale(name, module, out))
        for name, layer in weighted_layers(network)
        if _is_weight_normalised(layer)
    ]
    try:
        network(batch)
    finally:
        for hook in hooks:
            hook.remove()
