"""Tells true pairs (x_t, x_{t+1}) from generated ones (dissertation, 6.4.7 and Table 6.7)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from components.errors import UserError
from components.networks.conditioning import TimeEmbedding
from components.networks.glorot import convolution, linear
from components.networks.unet_blocks import HALF, resampling

SLOPE = 0.2


class DiffusionDiscriminator(nn.Module):
    """Residual blocks, the batch's deviation, a sum over pixels and a layer to the logit.

    Can be differentiated twice, which R1 asks for. The table's columns, with width 128:
    multipliers (1, 2, 4, 4, 4), down (no, yes, yes, yes, yes) of CIFAR-10; multipliers
    (2, 4, 4, 4, 4, 4) and down everywhere of 256 pixels.

    Args:
        channels: C of the images.
        size: side of the square images, pixels.
        width: channels of the first layer.
        multipliers: of the width, one for each block.
        down: whether each block halves the side.
        conditional: whether x_{t+1} is seen beside x_t.
        embedding: size of the time embedding, even.

    Raises:
        UserError: blocks and images that do not fit.
    """

    def __init__(
        self,
        channels: int,
        size: int,
        width: int,
        multipliers: Sequence[int],
        down: Sequence[bool],
        conditional: bool = True,
        embedding: int = 128,
    ) -> None:
        super().__init__()
        if not multipliers or len(multipliers) != len(down):
            raise UserError("a discriminator needs a block or more, and one `down` for each")
        if size % 2 ** sum(down):
            raise UserError(f"{size} pixels cannot be halved {sum(down)} times: fewer of `down`")
        self.conditional = conditional
        self.time = TimeEmbedding(embedding, nn.LeakyReLU(SLOPE))
        self.entry = convolution(channels * (2 if conditional else 1), width, 1)
        self.blocks, present = nn.ModuleList(), width
        for multiplier, halved in zip(multipliers, down, strict=True):
            self.blocks.append(_Block(present, width * multiplier, embedding, halved))
            present = width * multiplier
        self.last = convolution(present + 1, present, 3)
        self.logit = linear(present, 1)

    def forward(self, x: Tensor, t: Tensor, after: Tensor | None = None) -> Tensor:
        """Map pairs to logits of being true, float32 N.

        Args:
            x: x_t, N×C×size×size.
            t: N times.
            after: x_{t+1}, as x; of a conditional one.
        """
        time = functional.leaky_relu(self.time(t), SLOPE)
        h = self.entry(x if after is None else torch.cat([x, after], dim=1))
        for block in self.blocks:
            h = block(h, time)
        h = functional.leaky_relu(self.last(with_deviation(h)), SLOPE)
        with torch.autocast(h.device.type, enabled=False):
            logits: Tensor = self.logit(h.float().sum((2, 3)))
        return logits.squeeze(1)


class _Block(nn.Module):
    def __init__(self, entering: int, leaving: int, embedding: int, halved: bool) -> None:
        super().__init__()
        self.first = convolution(entering, leaving, 3)
        self.time = linear(embedding, leaving)
        self.second = convolution(leaving, leaving, 3)
        self.shrink = resampling("down" if halved else "none")
        self.skip = convolution(entering, leaving, 1, bias=False)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        h = self.first(functional.leaky_relu(x, SLOPE)) + self.time(time)[:, :, None, None]
        h = self.second(self.shrink(functional.leaky_relu(h, SLOPE)))
        together: Tensor = h + self.skip(self.shrink(x))
        return HALF * together


def group_size(count: int) -> int:
    """Items in each group of `with_deviation`: as many as divide the count, four at the most."""
    return next(size for size in range(min(4, count), 0, -1) if count % size == 0)


def with_deviation(x: Tensor) -> Tensor:
    """A channel more: how much items of a group differ, a number for each group.

    A batch whose items are all alike is known by it (Karras et al.,
    https://arxiv.org/abs/1710.10196, section 3). Items i, i + N/size, i + 2N/size, ... are a group.

    Args:
        x: N×C×H×W.

    Returns:
        N×C+1×H×W.
    """
    size = group_size(len(x))
    grouped = x.float().unflatten(0, (size, len(x) // size))
    deviation = (grouped.var(dim=0, correction=0) + 1e-8).sqrt().mean((1, 2, 3))
    channel = deviation.repeat(size).to(x.dtype)[:, None, None, None]
    return torch.cat([x, channel.expand(-1, 1, *x.shape[2:])], dim=1)
