"""The generator of denoising diffusion GANs, a U-Net of the NCSN++ kind (Table 6.6).

Dissertation, 6.3.2 and 6.4.7; Song et al., https://arxiv.org/abs/2011.13456, appendix H. Without a
latent variable it is the network of a denoising diffusion model.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from components.errors import UserError
from components.networks.conditioning import MappingNetwork, TimeEmbedding
from components.networks.fir import Downsample
from components.networks.glorot import convolution
from components.networks.group_norm import GroupNorm, groups_of
from components.networks.unet_blocks import HALF, Attention, Resampling, ResidualBlock

MULTIPLE = 4  # of channels in a group


class UNet(nn.Module):
    """Maps x_{t+1}, t and z to an image.

    Args:
        channels: C of the images.
        size: side of the square images, pixels; halved once for each further scale.
        width: initial number of channels, a multiple of 4.
        multipliers: of the width, one for each scale.
        blocks: residual blocks at each scale, on the way down; one more on the way up.
        attention: sides, in pixels, of the maps that attention sees.
        latent: L, size of z; 0: none, and plain normalisation.
        mapping_layers: of the network from z to w.
        embedding: size of w.
        progressive: whether each scale of the way down sees the image itself too, made smaller.
        dropout: probability in the blocks.
        bounded: whether the image is held in [-1, 1] by tanh; of x_0's, not of noise.

    Raises:
        UserError: sizes that do not fit.
    """

    def __init__(
        self,
        channels: int,
        size: int,
        width: int,
        multipliers: Sequence[int],
        blocks: int,
        attention: Sequence[int] = (),
        latent: int = 0,
        mapping_layers: int = 3,
        embedding: int = 256,
        progressive: bool = True,
        dropout: float = 0.0,
        bounded: bool = False,
    ) -> None:
        super().__init__()
        _check(size, width, multipliers, blocks, attention)
        w, time = (embedding if latent else None), 4 * width
        self.latent, self.bounded = latent, bounded
        self.mapping = MappingNetwork(latent, embedding, mapping_layers) if latent else None
        self.time = TimeEmbedding(time, nn.SiLU())

        def block(entering: int, leaving: int, resample: Resampling = "none") -> ResidualBlock:
            return ResidualBlock(entering, leaving, time, w, resample, dropout)

        def at(side: int, count: int, entering: list[int], leaving: int) -> nn.ModuleList:
            """Blocks of a scale, each with its attention."""
            sizes = [*entering, *[leaving] * (count - len(entering))]
            scale = [nn.ModuleList([block(entered, leaving)]) for entered in sizes]
            if side in attention:
                for layers in scale:
                    layers.append(Attention(leaving, w))
            return nn.ModuleList(scale)

        self.entry = convolution(channels, width, 3)
        self.down, self.shrink, self.pyramid = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        self.smaller = Downsample()
        present, side, skipped = width, size, [width]
        for i, multiplier in enumerate(multipliers):
            leaving = width * multiplier
            self.down.append(at(side, blocks, [present], leaving))
            present = leaving
            skipped += [present] * blocks
            if i + 1 < len(multipliers):
                self.shrink.append(block(present, present, "down"))
                if progressive:
                    self.pyramid.append(convolution(channels, present, 3))
                skipped.append(present)
                side //= 2
        self.bottom = nn.ModuleList([block(present, present), block(present, present)])
        self.between = Attention(present, w)
        self.up, self.grow = nn.ModuleList(), nn.ModuleList()
        for i, multiplier in reversed(list(enumerate(multipliers))):
            leaving = width * multiplier
            entering = [skipped.pop() + (leaving if j else present) for j in range(blocks + 1)]
            self.up.append(at(side, blocks + 1, entering, leaving))
            present = leaving
            if i:
                self.grow.append(block(present, present, "up"))
                side *= 2
        self.exit = GroupNorm(present, groups_of(present), w)
        self.last = convolution(present, channels, 3)

    def forward(self, x: Tensor, t: Tensor, z: Tensor | None = None) -> Tensor:
        """Map images.

        Args:
            x: x_{t+1}, N×C×size×size.
            t: N times; between integers for an ODE.
            z: N×L, where there is a latent variable.

        Returns:
            N×C×size×size, float32.
        """
        time = self.time(t)
        w = None if self.mapping is None or z is None else self.mapping(z)
        h, image = self.entry(x), x
        seen = [h]
        for i, scale in enumerate(self.down):
            for layers in scale.children():
                h = _through(layers, h, time, w)
                seen.append(h)
            if i < len(self.shrink):
                h = self.shrink[i](h, time, w)
                if len(self.pyramid):
                    image = self.smaller(image)
                    h = HALF * (h + self.pyramid[i](image))
                seen.append(h)
        h = self.bottom[1](self.between(self.bottom[0](h, time, w), w), time, w)
        for i, scale in enumerate(self.up):
            for layers in scale.children():
                h = _through(layers, torch.cat([h, seen.pop()], dim=1), time, w)
            if i < len(self.grow):
                h = self.grow[i](h, time, w)
        found: Tensor = self.last(functional.silu(self.exit(h, w))).float()
        return found.tanh() if self.bounded else found


def _through(layers: nn.Module, h: Tensor, time: Tensor, w: Tensor | None) -> Tensor:
    block, *attention = layers.children()
    h = block(h, time, w)
    for each in attention:
        h = each(h, w)
    return h


def _check(
    size: int, width: int, multipliers: Sequence[int], blocks: int, attention: Sequence[int]
) -> None:
    halvings = len(multipliers) - 1
    if halvings < 0 or blocks < 1:
        raise UserError("a U-Net needs a multiplier and a block or more")
    if size % 2**halvings:
        raise UserError(f"{size} pixels cannot be halved {halvings} times: give fewer multipliers")
    if width < MULTIPLE or width % MULTIPLE:
        raise UserError(f"the width of a U-Net is a multiple of {MULTIPLE}, not {width}")
    sides = [size // 2**i for i in range(halvings + 1)]
    if unknown := sorted(set(attention) - set(sides)):
        raise UserError(f"attention at a side of {unknown[0]}, but maps have sides {sides}")
