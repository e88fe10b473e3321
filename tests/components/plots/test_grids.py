"""Pixels are where they should be, and PNG gives them back."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from components.plots.grids import figure_to_array, image_grid, png_bytes, save_png
from components.plots.look import panels


def numbered(count: int, channels: int = 1, height: int = 2, width: int = 3) -> np.ndarray:
    """Image i is filled with the value i."""
    shape = (count, channels, height, width)
    return np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None, None], shape).copy()


def test_images_are_in_reading_order_with_white_gaps() -> None:
    grid = image_grid(numbered(5), columns=3)
    assert grid.shape == (2 * 3 + 1, 3 * 4 + 1, 3)
    for index in range(5):
        row, column = divmod(index, 3)
        cell = grid[1 + row * 3 : 3 + row * 3, 1 + column * 4 : 4 + column * 4]
        assert (cell == index).all()
    assert (grid[::3] == 255).all()
    assert (grid[:, ::4] == 255).all()
    assert (grid[4:6, 9:12] == 255).all(), "the place that no image takes is paper"


def test_pixels_keep_their_place_inside_an_image() -> None:
    image = np.arange(18, dtype=np.uint8).reshape(1, 3, 2, 3)
    grid = image_grid(image, columns=1)
    np.testing.assert_array_equal(grid[1:-1, 1:-1], image[0].transpose(1, 2, 0))


def test_scale_repeats_pixels_and_leaves_gaps() -> None:
    image = np.array([[[[10, 20]]]], dtype=np.uint8)
    grid = image_grid(image, columns=1, scale=3)
    assert grid.shape == (3 + 2, 6 + 2, 3)
    assert (grid[1:4, 1:4] == 10).all()
    assert (grid[1:4, 4:7] == 20).all()


def test_tensors_are_welcome_and_few_images_make_a_narrow_grid() -> None:
    images = numbered(2, channels=3)
    grid = image_grid(torch.from_numpy(images), columns=8)
    np.testing.assert_array_equal(grid, image_grid(images, columns=2))


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((2, 1, 4, 4), np.float32),
        np.zeros((2, 2, 4, 4), np.uint8),
        np.zeros((1, 4, 4), np.uint8),
        np.zeros((0, 1, 4, 4), np.uint8),
    ],
)
def test_what_is_no_batch_of_images_is_refused(wrong: np.ndarray) -> None:
    with pytest.raises(ValueError, match="uint8, N×1×H×W or N×3×H×W"):
        image_grid(wrong, columns=2)


def test_png_is_lossless_and_repeatable(tmp_path: Path) -> None:
    grid = image_grid(np.random.default_rng(0).integers(0, 256, (4, 3, 5, 5), np.uint8), 2)
    save_png(grid, tmp_path / "grid.png")
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "grid.png")), grid)
    assert (tmp_path / "grid.png").read_bytes() == png_bytes(grid)


def test_a_figure_is_drawn_at_its_own_size() -> None:
    figure, _ = panels(1, 2, 1.0, 1.5)
    pixels = figure_to_array(figure)
    assert pixels.shape == (240, 320, 3)
    assert Image.open(io.BytesIO(png_bytes(figure))).size == (320, 240)
    assert png_bytes(figure) == png_bytes(figure)
