"""Histograms count everything once, bars say their values."""

from __future__ import annotations

import numpy as np
import pytest

from components.plots.histograms import bars, score_histogram


def test_train_and_test_make_one_row_of_unit_areas() -> None:
    generator = np.random.default_rng(0)
    figure = score_histogram(
        {"train": generator.normal(size=1000), "test": generator.normal(size=500)}, "log p (nats)"
    )
    (panel,) = figure.axes
    assert panel.get_xlabel() == "log p (nats)"
    for stairs in panel.patches:
        heights, edges, _ = stairs.get_data()
        assert (heights * np.diff(edges)).sum() == pytest.approx(1.0)


def test_each_set_is_drawn_over_the_reference() -> None:
    sets = {name: np.random.default_rng(1).normal(size=100) for name in ("test", "near", "far")}
    figure = score_histogram(sets, "score")
    labels = [[patch.get_label() for patch in axes.patches] for axes in figure.axes]
    assert labels == [["near", "test"], ["far", "test"]]


def test_far_scores_are_counted_in_the_outermost_bin() -> None:
    reference = np.linspace(-1, 1, 1001)
    far = np.concatenate([np.full(750, -1e6), np.zeros(250)])
    (panel,) = score_histogram({"test": reference, "noise": far}, "score").axes
    heights, edges, _ = panel.patches[0].get_data()
    assert heights[0] * (edges[1] - edges[0]) == pytest.approx(0.75)
    assert edges[0] > -13
    assert panel.texts[0].get_text() == "← 75% beyond"


def test_constant_scores_draw() -> None:
    assert score_histogram({"test": np.zeros(5), "other": np.zeros(3)}, "score").axes


def test_bars_are_as_long_as_their_values() -> None:
    figure = bars({"base": (40.0, 1.5), "composition": (20.0, None)}, "distance", floor=1.25)
    (panel,) = figure.axes
    assert [patch.get_width() for patch in panel.patches] == [40.0, 20.0]
    assert [text.get_text() for text in panel.texts] == ["40 ± 1.5", "20"]
    assert panel.get_legend().get_texts()[0].get_text() == "floor 1.25"
