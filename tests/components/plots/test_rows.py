"""Each image is where its row says."""

from __future__ import annotations

import numpy as np
import torch

from components.plots.rows import (
    ASIDE,
    interpolation_grid,
    neighbour_grid,
    reconstruction_grid,
    straight_lines,
)


def numbered(*shape: int) -> np.ndarray:
    """Images of 2×3 pixels: image i is filled with the value i."""
    values = np.arange(np.prod(shape), dtype=np.uint8).reshape(*shape, 1, 1, 1)
    return np.broadcast_to(values, (*shape, 1, 2, 3)).copy()


def centres(grid: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """The value in the middle of each cell of a grid of 2×3 images."""
    return grid[1 : 3 * rows : 3, 2 : 4 * columns : 4, 0]


def test_lines_are_straight_evenly_spaced_and_end_at_their_ends() -> None:
    generator = torch.Generator().manual_seed(0)
    starts, ends = (torch.randn(3, 5, generator=generator) for _ in range(2))
    lines = straight_lines(starts, ends, 8)
    assert lines.shape == (3, 8, 5)
    torch.testing.assert_close(lines[:, 0], starts)
    torch.testing.assert_close(lines[:, -1], ends)
    step = ((ends - starts) / 7)[:, None].expand(3, 7, 5)
    torch.testing.assert_close(lines.diff(dim=1), step, atol=1e-6, rtol=1e-5)


def test_a_line_of_images_is_a_row() -> None:
    grid = interpolation_grid(numbered(2, 4))
    np.testing.assert_array_equal(centres(grid, 2, 4), np.arange(8).reshape(2, 4))


def test_neighbours_stand_beside_their_sample() -> None:
    grid = neighbour_grid(100 + numbered(2), numbered(2, 3))
    assert centres(grid[:, :5], 2, 1).tolist() == [[100], [101]]
    assert (grid[:, 5 : 5 + ASIDE] == 255).all()
    np.testing.assert_array_equal(centres(grid[:, 5 + ASIDE :], 2, 3), np.arange(6).reshape(2, 3))


def test_reconstructions_stand_below_their_images() -> None:
    grid = reconstruction_grid(numbered(4), 100 + numbered(4), columns=2)
    assert centres(grid, 4, 2).tolist() == [[0, 1], [100, 101], [2, 3], [102, 103]]
