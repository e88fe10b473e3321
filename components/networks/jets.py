"""Jets, values with derivatives beside them, through linear layers and nonlinearities.

A jet is the stack of h, its D tangents J_i = ∂h/∂x_i and its Laplacian L = Σ_i ∂²h/∂x_i², all by
the network's input x: D+2×N×F for F features of N items (Li et al., the forward Laplacian,
https://arxiv.org/abs/2307.08214). Stacked, they pass a linear layer in one product of matrices; and
with derivatives written out, a nonlinearity is a dozen passes over N×F numbers and its backward
pass two dozen, where autograd makes and keeps a tensor for every step of the formulas.

Both can be differentiated once, by all that goes in.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

Nonlinearity = nn.SiLU | nn.Tanh | nn.ReLU | nn.LeakyReLU


def affine(
    jet: Tensor, weight: Tensor, bias: Tensor, products: torch.dtype | None = None
) -> Tensor:
    """Pass a jet through a linear layer; the bias shifts the value alone.

    Args:
        jet: D+2×N×F; or 1×N×F, the value alone.
        weight: G×F.
        bias: G.
        products: number format of what is multiplied, forwards and backwards, such as bfloat16;
            what goes in and comes out keeps its own. None: its own.

    Returns:
        D+2×N×G, or 1×N×G.
    """
    passed: Tensor = _Affine.apply(jet, weight, bias, products or jet.dtype)
    return passed


def bend(jet: Tensor, layer: nn.Module, keep_value: bool = True) -> Tensor:
    """Pass a jet through a nonlinearity φ: φ(h), φ'(h) J_i and φ'(h) L + φ''(h) Σ_i J_i².

    Args:
        jet: D+2×N×F.
        layer: φ.
        keep_value: whether φ(h) is wanted; otherwise the result begins with the tangents.

    Returns:
        D+2×N×F, or D+1×N×F.

    Raises:
        ValueError: a layer whose derivatives are not known here.
    """
    if not isinstance(layer, Nonlinearity):
        raise ValueError(f"no second derivative is known here of {type(layer).__name__}")
    bent: Tensor = _Bend.apply(jet, layer, keep_value)
    return bent


class _Affine(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, jet: Tensor, weight: Tensor, bias: Tensor, products: torch.dtype
    ) -> Tensor:
        rows, factor = jet.flatten(0, 1).to(products), weight.to(products)
        ctx.save_for_backward(rows, factor)
        ctx.shape, ctx.dtype = jet.shape, jet.dtype
        passed = (rows @ factor.T).to(jet.dtype).view(*jet.shape[:2], -1)
        passed[0] += bias
        return passed

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        rows, factor = ctx.saved_tensors
        by_jet, by_weight, by_bias, _ = ctx.needs_input_grad
        by_rows = grad.flatten(0, 1).to(rows.dtype)
        return (
            (by_rows @ factor).to(ctx.dtype).view(ctx.shape) if by_jet else None,
            # This way round, as MKL is slow at a tall matrix times one of two columns.
            (rows.T @ by_rows).T.to(ctx.dtype) if by_weight else None,
            grad[0].sum(dim=0) if by_bias else None,
            None,
        )


class _Bend(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, jet: Tensor, layer: Nonlinearity, keep_value: bool) -> Tensor:
        gate = _gate(layer, jet[0])
        value, slope, curvature = _derivatives(layer, jet[0], gate)
        first = 0 if keep_value else 1
        bent = torch.empty_like(jet[first:])
        if keep_value:
            bent[0] = value
        torch.mul(jet[1:], slope, out=bent[1 - first :])
        bent[-1].addcmul_(curvature, _squares(jet[1:-1]))
        ctx.save_for_backward(jet, gate)
        ctx.layer, ctx.keep_value = layer, keep_value
        return bent

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        jet, gate = ctx.saved_tensors
        # The derivatives are computed again: to read them from memory takes as long.
        value, slope, curvature = _derivatives(ctx.layer, jet[0], gate)
        by_laplacian = grad[-1]
        found = torch.empty_like(jet)
        if ctx.keep_value:
            torch.mul(grad, slope, out=found)
        else:
            found[0] = 0.0
            torch.mul(grad, slope, out=found[1:])
        turned = curvature * by_laplacian
        found[1:-1].addcmul_(jet[1:-1], turned, value=2.0)
        along = jet[-1] * by_laplacian
        for tangent, by_tangent in zip(jet[1:-1], grad[-len(jet) + 1 : -1], strict=True):
            along.addcmul_(tangent, by_tangent)
        found[0].addcmul_(curvature, along)
        third = _third_derivative(ctx.layer, gate, value, slope, curvature)
        found[0].addcmul_(third.mul_(by_laplacian), _squares(jet[1:-1]))
        return found, None, None


def _squares(tangents: Tensor) -> Tensor:
    """Σ_i J_i² of D×N×F."""
    found = tangents[0].square()
    for tangent in tangents[1:]:
        found.addcmul_(tangent, tangent)
    return found


def _gate(layer: Nonlinearity, value: Tensor) -> Tensor:
    """What the derivatives of a nonlinearity are made of: the dear part of them."""
    if isinstance(layer, nn.SiLU):
        return torch.sigmoid(value)
    if isinstance(layer, nn.Tanh):
        return torch.tanh(value)
    below = layer.negative_slope if isinstance(layer, nn.LeakyReLU) else 0.0
    return torch.where(value > 0.0, 1.0, below)


def _derivatives(layer: Nonlinearity, value: Tensor, gate: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """φ, φ' and φ''.

    Of SiLU with σ its gate: φ' = σ + φ (1 - σ) and φ'' = (1 - σ) (2 φ' - φ).
    """
    if isinstance(layer, nn.SiLU):
        bent, below = value * gate, gate - 1.0
        slope = torch.addcmul(gate, bent, below, value=-1.0)
        return bent, slope, torch.sub(bent, slope, alpha=2.0).mul_(below)
    if isinstance(layer, nn.Tanh):
        slope = 1.0 - gate.square()
        return gate, slope, -2.0 * gate * slope
    return value * gate, gate, torch.zeros_like(value)


def _third_derivative(
    layer: Nonlinearity, gate: Tensor, value: Tensor, slope: Tensor, curvature: Tensor
) -> Tensor:
    """φ''', in a tensor of its own.

    Of SiLU: (1 - σ) (2 φ'' - φ') - σ φ''.
    """
    if isinstance(layer, nn.SiLU):
        third = torch.sub(slope, curvature, alpha=2.0).mul_(gate - 1.0)
        return third.addcmul_(gate, curvature, value=-1.0)
    if isinstance(layer, nn.Tanh):
        return (slope.square() + gate * curvature).mul_(-2.0)
    return torch.zeros_like(value)
