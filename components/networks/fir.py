"""Images twice as large or half as large, without aliasing (Zhang, https://arxiv.org/abs/1904.11486).

The filter is [1, 3, 3, 1] in both directions, as in NCSN++ (Song et al.,
https://arxiv.org/abs/2011.13456, appendix H), by one depthwise convolution.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

TAPS = (1.0, 3.0, 3.0, 1.0)


class _Filtered(nn.Module):
    taps: Tensor

    def __init__(self, gain: float) -> None:
        super().__init__()
        line = torch.tensor(TAPS)
        plane = torch.outer(line, line)
        self.register_buffer("taps", gain * plane / plane.sum(), persistent=False)

    def _of_each(self, x: Tensor) -> Tensor:
        """The filter once for each channel, as a depthwise convolution takes it."""
        return self.taps.to(x.dtype).expand(x.shape[1], 1, 4, 4)


class Downsample(_Filtered):
    """N×C×H×W to N×C×H/2×W/2; H and W even."""

    def __init__(self) -> None:
        super().__init__(1.0)

    def forward(self, x: Tensor) -> Tensor:
        return functional.conv2d(x, self._of_each(x), stride=2, padding=1, groups=x.shape[1])


class Upsample(_Filtered):
    """N×C×H×W to N×C×2H×2W."""

    def __init__(self) -> None:
        super().__init__(4.0)

    def forward(self, x: Tensor) -> Tensor:
        filters = self._of_each(x)
        return functional.conv_transpose2d(x, filters, stride=2, padding=1, groups=x.shape[1])
