"""Group normalisation, plain and with the scale and shift of a latent variable.

Wu and He, https://arxiv.org/abs/1803.08494; adaptive: dissertation, Eq. 6.13.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from components.errors import UserError

EPSILON = 1e-6


class GroupNorm(nn.Module):
    """y = scale · (x - mean) / deviation + shift, mean and deviation of each group of channels.

    Statistics are float32 under autocast too; the result has x's format. It can be differentiated
    once.

    Args:
        channels: C, a multiple of ``groups``.
        groups: G.
        embedding: size of w, from which scale and shift are computed (Eq. 6.13); None: they are
            parameters.

    Raises:
        UserError: the channels do not divide.
    """

    def __init__(self, channels: int, groups: int, embedding: int | None = None) -> None:
        super().__init__()
        if channels % groups:
            raise UserError(f"{channels} channels do not make {groups} groups")
        self.groups, self.channels = groups, channels
        if embedding is None:
            self.affine = None
            self.scale = nn.Parameter(torch.ones(channels))
            self.shift = nn.Parameter(torch.zeros(channels))
        else:
            self.affine = nn.Linear(embedding, 2 * channels)
            # At first w changes little, and the scale is 1.
            nn.init.normal_(self.affine.weight, std=embedding**-0.5)
            with torch.no_grad():
                self.affine.bias.copy_(torch.cat([torch.ones(channels), torch.zeros(channels)]))

    def forward(self, x: Tensor, w: Tensor | None = None) -> Tensor:
        """Normalise maps.

        Args:
            x: N×C×H×W.
            w: N×embedding, of an adaptive one.
        """
        if self.affine is None:
            scale, shift = (part.expand(len(x), -1) for part in (self.scale, self.shift))
        else:
            assert w is not None
            scale, shift = self.affine(w).float().chunk(2, dim=1)
        normalised: Tensor = _Normalised.apply(x, scale, shift, self.groups)
        return normalised


def groups_of(channels: int) -> int:
    """As many groups as in NCSN++: four channels each, 32 groups at most."""
    return max(1, min(channels // 4, 32))


class _Normalised(torch.autograd.Function):
    """Sums of each channel, and then one product and sum on the map, on both ways.

    PyTorch's own layer takes 2.4 to 4.3 times as long for it in bfloat16 on a CPU with channels
    last (maps of 16 to 64 channels, tests/benchmarks/test_group_norm.py), as long in float32,
    where it rounds a hundred times more coarsely about a mean of 30 deviations.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, shift: Tensor, groups: int) -> Tensor:
        area = x.shape[2] * x.shape[3]
        first = x.sum((2, 3), dtype=torch.float32)
        # About a mean that need not be small: squares of float32 would cancel.
        pivot = first / area
        centred = x - pivot.to(x.dtype)[:, :, None, None]
        left = first - area * pivot.to(x.dtype).float()
        second = centred.float().square().sum((2, 3))
        mean, inverse = _moments(pivot.to(x.dtype).float(), left, second, area, groups)
        factor = inverse * scale
        constant = shift - mean * factor
        ctx.save_for_backward(x, scale, mean, inverse)
        ctx.groups = groups
        return _scaled(x, factor, constant)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, scale, mean, inverse = ctx.saved_tensors
        count = x.shape[2] * x.shape[3] * x.shape[1] // ctx.groups
        by_shift = grad.sum((2, 3), dtype=torch.float32)
        product = (grad * x).sum((2, 3), dtype=torch.float32)
        by_scale = inverse * (product - mean * by_shift)
        # Means over a group of the gradient by the normalised map, and of its product with it.
        first = _shared(scale * by_shift, ctx.groups) / count
        second = _shared(scale * by_scale, ctx.groups) / count
        along = -inverse.square() * second
        by_x = _scaled(grad, inverse * scale, None)
        by_x += _scaled(x, along, -inverse * first - along * mean)
        return by_x, by_scale, by_shift, None


def _moments(
    pivot: Tensor, left: Tensor, second: Tensor, area: int, groups: int
) -> tuple[Tensor, Tensor]:
    """Mean and inverse deviation of each group, repeated for its channels, N×C float32.

    Args:
        pivot: what was subtracted from each channel, N×C.
        left: sums of what is left, N×C.
        second: sums of its squares, N×C.
        area: H·W.
        groups: G.
    """
    count = area * pivot.shape[1] // groups
    mean = _shared(area * pivot + left, groups) / count
    apart = pivot - mean
    squares = second + 2.0 * apart * left + area * apart.square()
    return mean, (_shared(squares, groups) / count + EPSILON).rsqrt()


def _shared(values: Tensor, groups: int) -> Tensor:
    """Sums over each group's channels, repeated for all of them, N×C."""
    count, channels = values.shape
    grouped = values.view(count, groups, -1)
    return grouped.sum(2, keepdim=True).expand_as(grouped).reshape(count, channels)


def _scaled(x: Tensor, factor: Tensor, constant: Tensor | None) -> Tensor:
    """x · factor + constant by channel, in x's format."""
    factor = factor.to(x.dtype)[:, :, None, None]
    if constant is None:
        return x * factor
    return torch.addcmul(constant.to(x.dtype)[:, :, None, None], x, factor)
