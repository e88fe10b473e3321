"""Maps of the plane: orientation, common scale, what lies outside."""

from __future__ import annotations

import numpy as np
import pytest

from components.plots import look
from components.plots.densities import density_panels, scatter_panels
from components.plots.grids import figure_to_array


def test_clouds_have_their_own_colours_and_the_same_map() -> None:
    points = np.random.default_rng(0).uniform(-1, 1, (100, 2))
    figure = scatter_panels({"data": points, "base": points, "composition": points}, 1.5)
    colours = [tuple(axes.collections[0].get_facecolor()[0, :3]) for axes in figure.axes]
    assert len(set(colours)) == 3
    assert {axes.get_xlim() for axes in figure.axes} == {(-1.5, 1.5)}
    assert all(not axes.texts for axes in figure.axes)


def test_the_share_of_points_beyond_the_map_is_said() -> None:
    points = np.zeros((200, 2))
    points[:3, 0], points[3:5, 1] = 9.0, -9.0
    (panel,) = scatter_panels({"base": points}, 1.0).axes
    assert panel.texts[0].get_text() == "2.50% beyond"


def test_centres_are_marked() -> None:
    centres = np.array([[0.0, 0.5], [0.5, 0.0]])
    (panel,) = scatter_panels({"data": np.zeros((5, 2))}, 1.0, centres).axes
    np.testing.assert_allclose(panel.collections[1].get_offsets(), centres)


def test_seven_panels_fill_two_rows_evenly() -> None:
    figure = scatter_panels({str(n): np.zeros((3, 2)) for n in range(7)}, 1.0)
    assert len(figure.axes) == 7
    assert len({round(axes.get_subplotspec().rowspan.start) for axes in figure.axes}) == 2


def test_a_density_is_drawn_the_right_way_up() -> None:
    """Mass at low y and high x is drawn at the bottom, right."""
    density = np.zeros((20, 20))
    density[:6, 14:] = 1.0
    figure = density_panels({"truth": density}, extent=2.0)
    drawn = figure_to_array(figure).astype(float).mean(axis=2)
    axes = figure.axes[0]
    height = drawn.shape[0]

    def darkness(x: float, y: float) -> float:
        column, row = axes.transData.transform((x, y))
        return 255 - drawn[height - int(row), int(column)]

    assert darkness(1.5, -1.5) > 100
    assert darkness(-1.5, -1.5) < 20
    assert darkness(1.5, 1.5) < 20


def test_densities_share_one_scale() -> None:
    figure = density_panels({"truth": np.full((4, 4), 4.0), "base": np.full((4, 4), 1.0)}, 1.0)
    scales = [axes.images[0].norm for axes in figure.axes[:2]]
    assert scales[0] is scales[1]
    assert scales[0].vmax == 4.0
    assert scales[0](1.0) == pytest.approx(0.5), "square root"


def test_an_empty_density_draws() -> None:
    assert figure_to_array(density_panels({"base": np.zeros((4, 4))}, 1.0)).shape[2] == 3


def test_role_colours_differ() -> None:
    assert len({look.BASE, look.COMPOSITION, look.INK, look.MUTED}) == 4
