"""The one place where images change their range or their shape.

Images are stored and passed between stages as uint8, N×C×H×W, 0..255. Models work on float32 in
[0, 1]; a network that wants another range converts inside.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def to_unit(images: Tensor) -> Tensor:
    """Convert stored images to the models' range.

    Args:
        images: uint8, N×C×H×W, 0..255.

    Returns:
        float32, N×C×H×W, in [0, 1].
    """
    return images.to(torch.float32).div_(255.0)


def quantise(images: Tensor) -> Tensor:
    """Convert a model's images to stored ones, rounding to the nearest of the 256 levels.

    Args:
        images: floating point, any shape, nominally in [0, 1]; values outside are clipped.

    Returns:
        uint8, same shape, 0..255.

    >>> quantise(torch.tensor([-0.1, 0.0, 0.5, 1.0, 1.2])).tolist()
    [0, 0, 128, 255, 255]
    """
    return images.detach().float().mul(255.0).round_().clamp_(0.0, 255.0).to(torch.uint8)


def as_rgb(images: Tensor) -> Tensor:
    """Repeat a grey channel three times; three channels are returned as they are.

    Args:
        images: N×1×H×W or N×3×H×W, any dtype.

    Returns:
        N×3×H×W, same dtype.
    """
    return images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images


def resize(images: Tensor, size: int) -> Tensor:
    """Resize square images with an antialiased bilinear filter.

    Args:
        images: float32, N×C×H×W.
        size: height and width of the result, pixels.

    Returns:
        float32, N×C×size×size; the same tensor if it has that size already.
    """
    if images.shape[-2:] == (size, size):
        return images
    return F.interpolate(images, size=(size, size), mode="bilinear", antialias=True)
