"""Pictures of sweeps: each trial in its place, the best one marked, no text cut off."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from components.plots.sweeps import metric_over_settings, quality_cost

MEASURE = "Fréchet distance, own classifier, held-out items"
NAN = float("nan")


def within(figure: Figure) -> bool:
    """Whether titles and labels lie inside the picture."""
    figure.draw_without_rendering()
    texts = [figure._suptitle] if figure._suptitle is not None else []
    for axes in figure.axes:
        texts += [axes.xaxis.label, axes.yaxis.label, axes._left_title]
    boxes = [text.get_window_extent() for text in texts if text.get_text()]
    right, upper = figure.bbox.width + 1, figure.bbox.height + 1
    return all(b.x0 >= -1 and b.y0 >= -1 and b.x1 <= right and b.y1 <= upper for b in boxes)


def test_a_full_grid_of_two_settings_is_a_map() -> None:
    settings = {"step_size": [0.1, 0.2, 0.1, 0.2], "steps": [5, 5, 10, 10]}
    figure = metric_over_settings(settings, [1285.9, 0.05123, NAN, 1.0], MEASURE, best=3)
    panel = figure.axes[0]
    assert {text.get_text(): text.get_position() for text in panel.texts} == {
        "1,286": (0.5, 0.5),
        "0.0512": (1.5, 0.5),
        "×": (0.5, 1.5),
        "1": (1.5, 1.5),
    }
    (mark,) = [patch for patch in panel.patches if isinstance(patch, Rectangle)]
    assert mark.get_xy() == (1, 1)
    assert within(figure)


@pytest.mark.parametrize(
    "settings",
    [
        {"learning_rate": [1e-3, 2e-3, 5e-2]},
        {"learning_rate": [1e-3, 2e-3, 5e-2], "steps": [5, 5, 10]},
        {"a": [1, 2, 3], "norm": ["weight", "spectral", "none"], "c": [1, 1, 2]},
    ],
    ids=["one", "two", "three"],
)
def test_other_trials_are_a_panel_a_setting(settings: dict[str, list[object]]) -> None:
    figure = metric_over_settings(settings, [4.0, NAN, 1.0], MEASURE, best=2)
    assert [axes.get_xlabel() for axes in figure.axes] == list(settings)
    for axes in figure.axes:
        trials, best = axes.collections
        np.testing.assert_array_equal(np.asarray(trials.get_offsets())[:, 1], [4.0, 1.0])
        assert np.asarray(best.get_offsets())[0, 1] == 1.0
        assert len(axes.lines) == 1, "the trial without a result is a cross"
    assert within(figure)


def test_the_frontier_is_the_best_at_each_cost() -> None:
    cost, metric = [5, 10, 5, 10, 20], [9.0, 4.0, 7.0, 8.0, 6.0]
    groups = ["a", "a", "b", "b", "b"]
    figure = quality_cost(cost, metric, [0.1] * 5, groups, MEASURE, "NFE")
    (panel,) = figure.axes
    lines = {line.get_label(): line for line in panel.lines}
    frontier = lines["best at this cost"]
    np.testing.assert_array_equal(frontier.get_xdata(), [5, 5, 10, 10, 20])
    np.testing.assert_array_equal(frontier.get_ydata(), [7.0, 7.0, 4.0, 4.0, 4.0])
    names = [text.get_text() for text in panel.get_legend().get_texts()]
    assert names == ["best at this cost", "a", "b"]
    assert within(figure)


def test_trials_without_a_metric_are_left_out() -> None:
    figure = quality_cost([5, 10], [NAN, 2.0], [0.0, NAN], ["a", "a"], MEASURE, "NFE")
    (panel,) = figure.axes
    drawn = [line for line in panel.lines if line.get_label() != "best at this cost"]
    assert all(list(line.get_xdata()) != [5, 10] for line in drawn)
