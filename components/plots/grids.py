"""Grids of images as plain pixels, and the way of every picture to PNG.

Grids are what Figures 4.2, 4.6, 4.10 and 4.12-4.17 of the dissertation are made of.
"""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import cast

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
"""A picture: uint8, H×W×3, 0..255."""

CELL = 56
"""Small images are enlarged by a whole factor to about so many pixels."""
GAP = 1
GAP_VALUE = 255


def image_grid(images: ArrayLike, columns: int, scale: int = 1) -> Pixels:
    """Lay images out in reading order, with gaps of one pixel between and around them.

    Args:
        images: uint8, N×1×H×W or N×3×H×W, 0..255, N at least 1; an array or a tensor on the CPU.
        columns: images in a row; the last row is filled up with white. Fewer images than columns
            make a narrower grid.
        scale: each pixel of an image becomes scale×scale pixels; gaps stay one pixel.

    Returns:
        uint8, (rows·(H·scale + 1) + 1)×(columns·(W·scale + 1) + 1)×3.

    Raises:
        ValueError: the images are not uint8 N×1×H×W or N×3×H×W, or there is none.

    >>> image_grid(np.zeros((5, 1, 28, 28), np.uint8), columns=3).shape
    (59, 88, 3)
    """
    cells = _cells(images, scale)
    count, height, width, _ = cells.shape
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    grid = np.full((rows * columns, height + GAP, width + GAP, 3), GAP_VALUE, np.uint8)
    grid[:count, GAP:, GAP:] = cells
    grid = grid.reshape(rows, columns, height + GAP, width + GAP, 3).swapaxes(1, 2)
    grid = grid.reshape(rows * (height + GAP), columns * (width + GAP), 3)
    return np.pad(grid, ((0, GAP), (0, GAP), (0, 0)), constant_values=GAP_VALUE)


def enlargement(size: int) -> int:
    """The `scale` of a grid in which images of this size are seen without a magnifying glass.

    >>> [enlargement(size) for size in (8, 16, 28, 32, 256)]
    [7, 4, 2, 2, 1]
    """
    return max(round(CELL / size), 1)


def figure_to_array(figure: Figure) -> Pixels:
    """Draw a figure.

    Args:
        figure: any; its own dpi decides the size.

    Returns:
        uint8, H×W×3.
    """
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def png_bytes(picture: ArrayLike | Figure) -> bytes:
    """Encode a picture; the same picture gives the same bytes.

    Args:
        picture: uint8, H×W×3, or a figure.
    """
    pixels = figure_to_array(picture) if isinstance(picture, Figure) else np.asarray(picture)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG", optimize=True)
    return file.getvalue()


def save_png(picture: ArrayLike | Figure, path: Path) -> None:
    """Write a picture to a PNG file.

    Args:
        picture: uint8, H×W×3, or a figure.
        path: file to write; its folder is there.
    """
    path.write_bytes(png_bytes(picture))


def _cells(images: ArrayLike, scale: int) -> Pixels:
    array = np.asarray(images)
    if array.ndim != 4 or array.shape[1] not in (1, 3) or array.dtype != np.uint8 or not len(array):
        raise ValueError(
            "images should be uint8, N×1×H×W or N×3×H×W, at least one; "
            f"these are {array.dtype}, {'×'.join(map(str, array.shape))}"
        )
    height, width = array.shape[2:]
    cells = np.broadcast_to(array, (len(array), 3, height, width)).transpose(0, 2, 3, 1)
    return cast(Pixels, cells.repeat(scale, axis=1).repeat(scale, axis=2))
