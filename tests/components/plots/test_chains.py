"""One chain a row, one kept step a column."""

from __future__ import annotations

import numpy as np
import pytest

from components.plots.chains import image_chain, point_chain


def test_rows_are_chains_and_columns_are_steps() -> None:
    states = np.zeros((3, 2, 1, 28, 28), np.uint8)
    for step in range(3):
        for chain in range(2):
            states[step, chain] = 100 * chain + 10 * step
    picture = image_chain(states, [0, 4, 16])
    grid = picture[-(2 * 29 + 1) :]
    for step in range(3):
        for chain in range(2):
            cell = grid[1 + 29 * chain : 29 + 29 * chain, 1 + 29 * step : 29 + 29 * step]
            assert (cell == 100 * chain + 10 * step).all()


def test_a_number_is_written_above_each_column() -> None:
    picture = image_chain(np.zeros((3, 2, 1, 28, 28), np.uint8), [0, 4, 16])
    header = picture[: -(2 * 29 + 1)]
    written = [(header[:, 1 + 29 * column : 29 + 29 * column] < 200).sum() for column in range(3)]
    assert min(written) > 0
    assert written[2] > written[1], "16 takes more ink than 4"


def test_points_have_a_panel_a_step() -> None:
    states = np.random.default_rng(0).normal(size=(4, 50, 2)).astype(np.float32)
    figure = point_chain(states, [0, 5, 10, 20], extent=2.0)
    assert [axes.get_title("left") for axes in figure.axes] == [f"step {n}" for n in (0, 5, 10, 20)]
    for axes, points in zip(figure.axes, states, strict=True):
        np.testing.assert_allclose(axes.collections[0].get_offsets(), points)


@pytest.mark.parametrize(
    "draw", [image_chain, lambda states, steps: point_chain(states, steps, 1.0)]
)
def test_each_state_needs_its_step(draw: object) -> None:
    with pytest.raises(ValueError, match="3 kept states have 2 step numbers"):
        draw(np.zeros((3, 2, 1, 28, 28), np.uint8), [0, 4])  # type: ignore[operator]
