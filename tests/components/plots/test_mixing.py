"""The figure of chains that run on."""

from __future__ import annotations

import numpy as np
import pytest

from components.plots.grids import figure_to_array
from components.plots.mixing import ChainStory, mixing_panels


def story(level: float, acceptance: float | None = 0.71) -> ChainStory:
    steps = list(range(0, 41, 2))
    energies = level + np.arange(21)[:, None] + np.linspace(-1.0, 1.0, 11)
    correlation = 0.5 ** np.arange(10)
    return ChainStory(steps, energies, correlation, [2, 4], [0.3, 0.6], 1.52, 0.043, acceptance)


def test_each_model_has_a_line_in_each_panel() -> None:
    figure = mixing_panels({"noisy": story(0.0), "noise-free": story(9.0, None)}, 10)
    energy, memory, drifting = figure.axes
    np.testing.assert_allclose(energy.lines[0].get_ydata(), np.arange(21.0))
    np.testing.assert_allclose(energy.lines[1].get_ydata(), 9.0 + np.arange(21.0))
    band = energy.collections[0].get_paths()[0].vertices
    assert band[:, 1].min() == pytest.approx(-0.8) and band[:, 1].max() == pytest.approx(20.8)
    np.testing.assert_allclose(memory.lines[0].get_xdata(), [0, 2, 4, 6, 8])
    np.testing.assert_allclose(memory.lines[0].get_ydata(), 0.5 ** np.arange(5))
    assert drifting.lines[0].get_xydata().tolist() == [[1, 0], [2, 0.3], [4, 0.6]]
    assert len({line.get_color() for line in drifting.lines}) == 2
    assert figure_to_array(figure).shape[2] == 3


def test_trainings_steps_and_the_floor_are_marked() -> None:
    energy, _, drifting = mixing_panels({"ebm": story(0.0)}, 10, 0.05, "sliced W₂").axes
    assert list(energy.lines[-1].get_xdata()) == [10, 10]
    assert list(drifting.lines[-1].get_ydata()) == [0.05, 0.05]
    assert drifting.get_ylabel() == "sliced W₂"


def test_the_numbers_are_said() -> None:
    _, memory, drifting = mixing_panels({"a": story(0.0), "b": story(0.0, None)}, 10).axes
    said = [text.get_text() for text in memory.get_legend().get_texts()]
    assert said == ["R-hat 1.52, ESS 4.3 %, MALA 71 %", "R-hat 1.52, ESS 4.3 %"]
    assert [text.get_text() for text in drifting.get_legend().get_texts()] == ["a", "b"]
