"""Residual energies: those of VAEBM (chapter 4), after Du and Mordatch.

Dissertation, Table 4.9 and section 4.4.1; Xiao et al., VAEBM, https://arxiv.org/abs/2010.00654;
Du and Mordatch, https://arxiv.org/abs/1903.08689.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import torch.nn.functional as F
from torch import Tensor, nn

from components.errors import UserError
from components.networks.layers import ScalarHead, centre
from components.networks.normalisation import Normalisation, normalise

# Row by row as in Table 4.9: "conv" is the 3×3 convolution, "down" a residual block that halves the
# image, "block" one that does not. "small" is section 4.4.1's network, 3 blocks of 64 channels and
# 3 of 128; its text does not say where the image is halved: here as in the first rows of the table.
LAYOUTS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "small": (
            *("conv 64", "down 64", "block 64", "block 64"),
            *("down 128", "block 128", "block 128"),
        ),
        "cifar10": (
            *("conv 128", "down 128", "block 128", "down 256", "block 256"),
            *("down 256", "block 256"),
        ),
        "celeba64": (
            *("conv 64", "down 64", "block 64", "down 128", "block 128"),
            *("down 128", "block 256", "down 256", "block 256"),
        ),
        "lsun64": (
            *("conv 64", "down 64", "block 64", "down 128", "block 128"),
            *("down 128", "block 256", "block 256", "down 256", "block 256"),
        ),
        "celebahq256": (
            *("conv 64", "down 64", "block 64", "down 128", "block 128", "down 128", "block 128"),
            *("down 256", "block 256", "down 256", "block 256", "down 512", "block 512"),
        ),
    }
)


class ResidualBlock(nn.Module):
    """x ↦ skip(x) + conv(swish(conv(swish(x)))), halved by averaging if `down`.

    The skip is the identity, or a 1×1 convolution where the number of channels changes.
    Pre-activation: He et al., https://arxiv.org/abs/1603.05027.

    Args:
        channels: of the input.
        filters: of the output.
        down: whether height and width are halved.
    """

    def __init__(self, channels: int, filters: int, down: bool) -> None:
        super().__init__()
        self.down = down
        self.residual = nn.Sequential(
            nn.SiLU(),
            nn.Conv2d(channels, filters, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(filters, filters, 3, padding=1),
        )
        self.skip = nn.Conv2d(channels, filters, 1) if channels != filters else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map N×channels×H×W to N×filters×H×W, or to half that height and width."""
        residual: Tensor = self.residual(x)
        if self.down:
            # Averaging commutes with the 1×1 convolution, which is cheaper on a quarter the pixels.
            x, residual = F.avg_pool2d(x, 2), F.avg_pool2d(residual, 2)
        out: Tensor = self.skip(x) + residual
        return out


class ResidualEnergy(nn.Module):
    """Residual blocks, Swish, global sum pooling and a layer to the scalar (Table 4.9).

    Fully convolutional: any image size that the layout's halvings leave at 1 pixel or more.

    Args:
        channels: C, image channels.
        layout: a key of `LAYOUTS` ("cifar10", "celeba64", "lsun64", "celebahq256": Table 4.9;
            "small": section 4.4.1), or rows of one's own, such as
            ["conv 64", "down 64", "block 128"]: one "conv", then blocks, each with its channels.
        normalisation: of every layer: "weight" (chapter 4; call `initialise_from` before
            training), "spectral" or "none".

    Raises:
        UserError: the layout is unknown or a row cannot be read.
    """

    def __init__(
        self,
        channels: int,
        layout: str | Sequence[str],
        normalisation: Normalisation = "weight",
    ) -> None:
        super().__init__()
        if isinstance(layout, str):
            if layout not in LAYOUTS:
                raise UserError(f"unknown layout {layout!r}: known are {', '.join(LAYOUTS)}")
            layout = LAYOUTS[layout]
        (_, width), *rows = _read_layout(layout)
        modules: list[nn.Module] = [nn.Conv2d(channels, width, 3, padding=1)]
        for kind, filters in rows:
            modules.append(ResidualBlock(width, filters, down=kind == "down"))
            width = filters
        self.body = nn.Sequential(*modules, nn.SiLU())
        self.head = ScalarHead(width)
        normalise(self, normalisation)

    def forward(self, images: Tensor) -> Tensor:
        """Map images, float32 N×C×H×W in [0, 1], to their N energies, float32."""
        energies: Tensor = self.head(self.body(centre(images)).float().sum((2, 3)))
        return energies


def _read_layout(layout: Sequence[str]) -> list[tuple[str, int]]:
    """Read ["conv 64", "down 128"] as [("conv", 64), ("down", 128)]."""
    rows = []
    for row in layout:
        kind, _, filters = row.partition(" ")
        if kind not in ("conv", "down", "block") or not filters.isdecimal():
            raise UserError(f"row {row!r} must be conv, down or block and a number: 'down 128'")
        rows.append((kind, int(filters)))
    if [i for i, (kind, _) in enumerate(rows) if kind == "conv"] != [0]:
        raise UserError("the layout of a residual energy has one conv, and it comes first")
    return rows
