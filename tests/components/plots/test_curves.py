"""Curves show what was logged, where it was logged, on a sensible scale."""

from __future__ import annotations

import numpy as np

from components.plots.curves import curves, side_by_side, training_overview


def rows(count: int, **figures: float) -> list[dict[str, float]]:
    return [{"step": 10.0 * i, **figures} for i in range(count)]


def test_the_kept_step_is_marked() -> None:
    (panel,) = curves(rows(5, loss=1.0), ["loss"], "loss", mark=30).axes
    marked = [line for line in panel.lines if line.get_label() == "kept"]
    assert list(marked[0].get_xdata()) == [30, 30]


def test_values_are_drawn_at_their_steps_and_gaps_stay_out() -> None:
    logged = [{"step": 1, "loss": 3.0}, {"step": 2}, {"step": 4, "loss": float("nan")}]
    logged += [{"step": 8, "loss": 2.0}]
    (panel,) = curves(logged, ["loss"], "loss").axes
    np.testing.assert_allclose(panel.lines[0].get_xydata(), [[1, 3], [8, 2]])


def test_the_moving_mean_of_a_line_is_the_line() -> None:
    logged = [{"step": i, "loss": 2.0 * i} for i in range(200)]
    (panel,) = curves(logged, ["loss"], "loss").axes
    raw, mean = panel.lines
    np.testing.assert_allclose(mean.get_ydata()[5:-5], raw.get_ydata()[5:-5])


def test_only_wide_positive_figures_are_on_a_log_axis() -> None:
    wide = [{"step": i, "norm": 10.0**i, "signed": (-10.0) ** i, "flat": 1.0} for i in range(5)]
    scales = [curves(wide, [name], name).axes[0].get_yscale() for name in wide[0] if name != "step"]
    assert scales == ["log", "linear", "linear"]


def test_one_spike_does_not_hide_the_rest() -> None:
    logged = [{"step": i, "loss": float(np.sin(i))} for i in range(500)]
    logged[250]["loss"] = -1e6
    (panel,) = curves(logged, ["loss"], "loss").axes
    assert -2 < panel.get_ylim()[0] < panel.get_ylim()[1] < 2


def test_figures_of_a_kind_share_a_panel() -> None:
    training = rows(4, elbo=-1.0, kl=2.0, energy_data=0.0, energy_chain=1.0)
    figure = training_overview(training, rows(2, validation_elbo=-1.5), mark=None)
    titles = [axes.get_title("left") for axes in figure.axes]
    assert titles == ["elbo", "kl", "energy"]
    assert [len(axes.lines) for axes in figure.axes] == [2, 1, 2]


def test_attempts_that_were_rolled_back_leave_the_panel() -> None:
    training = rows(5, loss=1.0, kl=2.0)
    runs = [{"attempt": n, "step": 45.0 + x, "loss": 10.0**x} for n in (1.0, 2.0) for x in range(4)]
    loss, kl = training_overview(training, [], mark=None, diverged=runs).axes
    shown = {line.get_label(): line.get_xydata().tolist() for line in loss.lines}
    # From the last good step out of the panel.
    left = [[40.0, 1.0], *([45.0 + x, 10.0**x] for x in range(4))]
    assert shown["diverged"] == shown["_again"] == left
    assert loss.get_ylim()[1] < 2.0 and loss.get_xlim()[1] >= 48.0
    assert len(kl.lines) == 1 and kl.get_legend() is None
    (alone,) = training_overview([], [], diverged=runs).axes
    assert [line.get_label() for line in alone.lines] == ["diverged", "_again"]
    (panel,) = side_by_side({"one": training}, "loss", "loss", {"one": runs}).axes
    assert [line.get_label() for line in panel.lines] == ["one", "diverged", "_again"]


def test_trainings_are_beside_each_other_under_their_labels() -> None:
    trainings = {"one": rows(5, nll=1.0), "two": rows(3, nll=2.0, kl=9.0), "none": rows(2, kl=1.0)}
    (panel,) = side_by_side(trainings, "nll", "NLL, nats").axes
    drawn = {line.get_label(): line.get_xydata().tolist() for line in panel.lines}
    assert drawn == {
        "one": [[10.0 * i, 1.0] for i in range(5)],
        "two": [[10.0 * i, 2.0] for i in range(3)],
    }
    assert panel.get_title("left") == "NLL, nats"
    assert [text.get_text() for text in panel.get_legend().get_texts()] == ["one", "two"]
