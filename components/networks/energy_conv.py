"""Convolutional energies: plain stacks of Swish convolutions, flattened, to one number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from torch import Tensor, nn

from components.errors import UserError
from components.networks.guard import FeatureGuard, GuardedEnergy
from components.networks.layers import QuadraticHead, ScalarHead, centre
from components.networks.normalisation import Normalisation, normalise

Head = Literal["linear", "quadratic"]


class _Layer(NamedTuple):
    filters: int
    kernel: int
    stride: int


class _ConvStack(GuardedEnergy):
    """Swish convolutions with padding (kernel − 1)//2, flattened, and a layer to the scalar."""

    def __init__(
        self,
        channels: int,
        size: int,
        layers: Sequence[_Layer],
        normalisation: Normalisation,
        head: Head = "linear",
        guard: float = 0.0,
    ) -> None:
        super().__init__()
        modules: list[nn.Module] = []
        side = size
        for filters, kernel, stride in layers:
            padding = (kernel - 1) // 2
            modules += [nn.Conv2d(channels, filters, kernel, stride, padding), nn.SiLU()]
            channels = filters
            side = (side + 2 * padding - kernel) // stride + 1
            if side < 1:
                raise UserError(
                    f"{len(layers)} strided convolutions are too many for {size} pixels"
                )
        self.body = nn.Sequential(*modules)
        count = channels * side**2
        self.head = (QuadraticHead if head == "quadratic" else ScalarHead)(count)
        self.guard = FeatureGuard(count, guard) if guard else None
        normalise(self, normalisation)

    def features(self, items: Tensor) -> Tensor:
        """Map images, float32 N×C×size×size in [0, 1], to N×F."""
        features: Tensor = self.body(centre(items)).flatten(1)
        return features


class ConvEnergy(_ConvStack):
    """The energies of chapter 5, Table 5.2 of the dissertation.

    A 3×3 convolution of stride 1 with width·multipliers[0] filters, then 4×4 convolutions of
    stride 2 with width·multipliers[i] filters, each followed by Swish. The table's columns:

    ===================  ====  =====  ================
    data                 size  width  multipliers
    ===================  ====  =====  ================
    MNIST, Fashion       32    32     1, 2, 2, 2
    CIFAR-10             32    64     1, 2, 4, 8
    CelebA               64    32     1, 2, 4, 8, 16
    ===================  ====  =====  ================

    Args:
        channels: C, image channels.
        size: side of the square images, pixels.
        width: number of filters, nf in the table.
        multipliers: of the width, one a convolution.
        normalisation: of every layer: "none" (chapter 5), "weight" or "spectral".

    Raises:
        UserError: there is no multiplier, or the images are too small for that many convolutions.
    """

    def __init__(
        self,
        channels: int,
        size: int,
        width: int,
        multipliers: Sequence[int],
        normalisation: Normalisation = "none",
    ) -> None:
        if not multipliers:
            raise UserError("a convolutional energy needs one multiplier or more")
        first, *rest = multipliers
        layers = [_Layer(width * first, 3, 1), *(_Layer(width * m, 4, 2) for m in rest)]
        super().__init__(channels, size, layers, normalisation)


class StridedEnergy(_ConvStack):
    """A cheaper energy: every convolution is strided, the first one too.

    Most of `ConvEnergy`'s work is at full resolution; without it a Langevin step costs a fraction.

    Args:
        channels: C, image channels.
        size: side of the square images, pixels.
        filters: number of filters, one a convolution.
        kernel: side of the kernels, pixels.
        stride: of every convolution, pixels.
        normalisation: of every layer: "none", "weight" or "spectral".
        head: from features to the energy: "linear", or "quadratic" (`QuadraticHead`).
        guard: strength of the price of features that data do not have (`FeatureGuard`); 0: none.

    Raises:
        UserError: the images are too small for that many convolutions.
    """

    def __init__(
        self,
        channels: int,
        size: int,
        filters: Sequence[int],
        kernel: int = 4,
        stride: int = 2,
        normalisation: Normalisation = "none",
        head: Head = "linear",
        guard: float = 0.0,
    ) -> None:
        layers = [_Layer(count, kernel, stride) for count in filters]
        super().__init__(channels, size, layers, normalisation, head, guard)
