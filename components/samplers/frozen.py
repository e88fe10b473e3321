"""Networks whose parameters take no gradient while a chain runs through them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.utils import parametrize


@contextmanager
def frozen(*modules: nn.Module) -> Iterator[None]:
    """Switch off the gradients of the modules' parameters, and restore each of them on leaving.

    A chain needs the gradient with respect to its state alone; autograd then neither computes
    nor keeps anything for the parameters. Weights that are computed from others (weight and
    spectral normalisation) are computed once for the whole block, not once a forward pass:
    parameters must not be updated inside it. Training or evaluation mode is left to the caller.

    Args:
        modules: networks that the chain evaluates.
    """
    parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        with parametrize.cached():
            yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)
