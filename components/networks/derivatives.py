"""Gradients, Laplacians and Hutchinson's estimates of energies with respect to their input.

What a gradient flow moves by and what its log-density gathers (dissertation, section 5.3, Eq. 5.5
and 5.7). All of it can be differentiated once more, by parameters and by x.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from components.networks.jets import affine, bend
from components.networks.mlp import FullyConnectedEnergy

Energy = Callable[[Tensor], Tensor]


class Slope(NamedTuple):
    """∇f(x), shaped as x, and ∇²f's trace or an estimate of it, N."""

    gradient: Tensor
    laplacian: Tensor


def gradient(energy: Energy, x: Tensor) -> Tensor:
    """∇f(x), shaped as x, by reverse differentiation.

    Args:
        energy: maps N×... to N energies, where the i-th depends on row i alone.
        x: N×..., floating point. Where gradients are switched on, the result has a graph.
    """
    graph = torch.is_grad_enabled()
    with torch.enable_grad():
        point = x if graph and x.requires_grad else x.detach().requires_grad_()
        (found,) = torch.autograd.grad(energy(point).sum(), point, create_graph=graph)
    return found


def exact_slope(energy: Energy, x: Tensor, products: torch.dtype | None = None) -> Slope:
    """Gradient and Laplacian Σ_i ∂²f/∂x_i².

    A fully connected energy is passed through once, forwards, with its tangents and their second
    derivatives beside it (`forward_slope`). Any other is differentiated D times more, all at once.

    Args:
        energy: as in `gradient`.
        x: N×..., D numbers an item.
        products: of a fully connected energy, see `forward_slope`.
    """
    if isinstance(energy, FullyConnectedEnergy):
        return forward_slope(energy, x, products)
    size = x[0].numel()
    basis = torch.eye(size, dtype=x.dtype, device=x.device).view(size, 1, *x.shape[1:])
    found, forms = _quadratic_forms(energy, x, basis.expand(size, *x.shape))
    return Slope(found, forms.sum(dim=0))


def estimated_slope(energy: Energy, x: Tensor, probes: Tensor) -> Slope:
    """Gradient and Hutchinson's estimate of the Laplacian, the mean of vᵀ(∇²f)v over probes.

    Unbiased where the probes' covariance is the identity (Hutchinson 1989; Grathwohl et al.,
    https://arxiv.org/abs/1810.01367).

    Args:
        energy: as in `gradient`.
        x: N×....
        probes: v, P×N×..., such as random signs.
    """
    found, forms = _quadratic_forms(energy, x, probes)
    return Slope(found, forms.mean(dim=0))


def forward_slope(
    energy: FullyConnectedEnergy, x: Tensor, products: torch.dtype | None = None
) -> Slope:
    """Gradient and Laplacian of a fully connected energy in one pass forwards.

    Beside the value h of each layer go its D tangents J_i = ∂h/∂x_i and its Laplacian L. A linear
    layer maps all of them alike; through a nonlinearity φ they become φ'(h) J_i and
    φ'(h) L + φ''(h) Σ_i J_i² (Li et al., https://arxiv.org/abs/2307.08214). That is D + 2 passes in
    one, instead of a backward pass through a backward pass for each of D dimensions. The result can
    be differentiated once.

    Args:
        energy: the network; its linear layers may be normalised.
        x: N×D.
        products: number format of what hidden layers multiply (see `jets.affine`); the first
            layer, which sees x itself, and the last one keep x's.

    Raises:
        ValueError: a layer whose derivatives are not known here.
    """
    entry, *layers, last = _layers(energy.body)
    if not isinstance(entry, nn.Linear):
        raise ValueError(f"a fully connected energy begins with a linear layer, not {entry}")
    value, first, second = _seen(energy, x)
    # Read once: a normalised layer computes its weight anew each time.
    weight = entry.weight
    jet = torch.cat(
        [
            affine(value.unsqueeze(0), weight, entry.bias),
            (first @ weight.T).expand(-1, len(x), -1),
            (second @ weight.T).expand(1, len(x), -1),
        ]
    )
    for layer in layers:
        if isinstance(layer, nn.Linear):
            jet = affine(jet, layer.weight, layer.bias, products)
        else:
            jet = bend(jet, layer)
    # The energy's own value is of no use here, nor then its last features'.
    parts = bend(jet, last, keep_value=False) @ energy.head.linear.weight.squeeze(0)
    return Slope(parts[:-1].T, parts[-1])


def _seen(energy: FullyConnectedEnergy, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What the first layer sees of x: values N×F, tangents D×N×F and Laplacians N×F.

    Coordinates have the same tangents everywhere and no Laplacian: one row stands for all N.
    """
    count, size = x.shape
    scaled = x / energy.input_scale
    tangents = torch.eye(size, dtype=x.dtype, device=x.device) / energy.input_scale
    first, second = tangents.unsqueeze(1), torch.zeros_like(scaled[:1])
    if isinstance(energy.features, nn.Identity):
        return scaled, first, second
    frequencies = energy.features.frequencies
    angles, turns = scaled @ frequencies, first @ frequencies
    sine, cosine, speed = angles.sin(), angles.cos(), turns.square().sum(dim=0)
    return (
        torch.cat([scaled, sine, cosine], dim=1),
        torch.cat([first.expand(-1, count, -1), turns * cosine, -turns * sine], dim=2),
        torch.cat([second.expand(count, -1), -speed * sine, -speed * cosine], dim=1),
    )


def _layers(body: nn.Sequential) -> list[nn.Module]:
    nested = (_layers(each) if isinstance(each, nn.Sequential) else [each] for each in body)
    return [layer for group in nested for layer in group]


def _quadratic_forms(energy: Energy, x: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
    """∇f(x) and dᵀ(∇²f)d of P directions, P×N."""
    graph = torch.is_grad_enabled()
    with torch.enable_grad():
        point = x if graph and x.requires_grad else x.detach().requires_grad_()
        (slope,) = torch.autograd.grad(energy(point).sum(), point, create_graph=True)
        (turned,) = torch.autograd.grad(
            slope, point, directions, create_graph=graph, is_grads_batched=True
        )
        forms = (turned * directions).flatten(2).sum(dim=2)
    return (slope, forms) if graph else (slope.detach(), forms)
