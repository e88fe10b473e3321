"""Maps of flows: orientation, their own scales, what is where."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from components.plots.flows import DEPTH, FlowRow, flow_panels
from components.plots.grids import figure_to_array

TITLES = ["samples", "EBM's own density", "flow's density", "truth"]


@pytest.fixture
def row() -> FlowRow:
    lopsided = np.full((20, 20), -50.0)
    lopsided[:6, 14:] = 3.0
    points = np.random.default_rng(0).uniform(-1, 1, (100, 2))
    return FlowRow(points, lopsided, lopsided - 9.0, np.full((20, 20), -2.0), 2.0)


@pytest.mark.parametrize("logarithmic", [True, False])
def test_the_order_is_samples_energy_flow_truth(row: FlowRow, logarithmic: bool) -> None:
    figure = flow_panels({"roll": row}, logarithmic=logarithmic)
    assert [axes.get_title(loc="left") for axes in figure.axes] == TITLES
    assert {axes.get_xlim() for axes in figure.axes} == {(-2.0, 2.0)}
    np.testing.assert_allclose(figure.axes[0].collections[0].get_offsets(), row.samples)
    energy, flow, truth = (axes.images[0].get_array() for axes in figure.axes[1:])
    # Each from its own peak: a constant that is left out of an energy changes nothing.
    np.testing.assert_allclose(energy, flow)
    np.testing.assert_allclose(truth, 0.0 if logarithmic else 1.0)
    assert energy.min() == (-DEPTH if logarithmic else pytest.approx(0.0, abs=1e-20))


def test_maps_are_drawn_the_right_way_up(row: FlowRow) -> None:
    figure = flow_panels({"roll": row}, logarithmic=False)
    drawn = figure_to_array(figure).astype(float).mean(axis=2)
    axes = figure.axes[1]

    def darkness(x: float, y: float) -> float:
        column, line = axes.transData.transform((x, y))
        return 255 - drawn[len(drawn) - int(line), int(column)]

    assert darkness(1.5, -1.5) > 100
    assert darkness(-1.5, -1.5) < 20 and darkness(1.5, 1.5) < 20


def test_rows_have_names_and_extents_of_their_own(row: FlowRow) -> None:
    other = dataclasses.replace(row, extent=5.0)
    figure = flow_panels({"roll": row, "grid": other}, logarithmic=True)
    assert [axes.get_title(loc="left") for axes in figure.axes] == TITLES * 2
    assert [axes.get_ylabel() for axes in figure.axes[::4]] == ["roll", "grid"]
    assert [axes.get_xlim()[1] for axes in figure.axes] == [2.0] * 4 + [5.0] * 4


def test_long_names_stay_beside_their_own_row(row: FlowRow) -> None:
    long = "Grid of 9 Gaussians, trained by maximum likelihood"
    figure = flow_panels({long: row, "grid": row}, logarithmic=True)
    figure_to_array(figure)
    for first, second in zip(figure.axes, figure.axes[1:4], strict=False):
        written = first._left_title.get_window_extent()  # type: ignore[attr-defined]
        assert written.x1 < second.get_window_extent().x0
    name, panel = figure.axes[0].yaxis.label.get_window_extent(), figure.axes[0].get_window_extent()
    assert name.height <= 1.05 * panel.height and name.x1 < panel.x0


def test_chains_without_a_density_leave_its_place_empty(row: FlowRow) -> None:
    noisy = dataclasses.replace(row, flow=None)
    figure = flow_panels({"flow": row, "noisy": noisy}, logarithmic=True)
    places = [axes.get_subplotspec().colspan.start for axes in figure.axes]
    assert places == [0, 1, 2, 3, 0, 1, 3]


def test_a_density_that_is_nowhere_draws(row: FlowRow) -> None:
    nowhere = dataclasses.replace(row, energy=np.full((4, 4), -np.inf))
    assert figure_to_array(flow_panels({"roll": nowhere}, logarithmic=False)).shape[2] == 3
