"""The training loop: what is kept, when it stops, what it reports."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from torch import Tensor, nn

from pipelines.runtime.checkpoints import FolderStore
from pipelines.runtime.loop import train
from pipelines.runtime.progress import Board, BoardReporter, Event
from pipelines.runtime.task import Validation
from tests.pipelines.runtime.loop_cases import (
    MortalStore,
    assert_same,
    elbo_learner,
    elbo_score,
    exported,
    plan,
    run,
    scores,
    task,
)


def test_the_lowest_score_is_kept(tmp_path: Path) -> None:
    seen: dict[int, dict[str, Tensor]] = {}
    script = scores(5.0, 3.0, 1.0, 2.0, float("nan"), 1.5)

    def validate(model: nn.Module, step: int) -> Validation:
        seen[step] = {key: value.clone() for key, value in model.state_dict().items()}
        return script(model, step)

    made = task(elbo_learner(), validate)
    outcome = run(made, plan(), FolderStore(tmp_path))
    assert (outcome.kept_step, outcome.kept_score) == (12, 1.0)
    assert sorted(seen) == [4, 8, 12, 16, 20, 24] and outcome.step == 24
    assert_same(exported(made), seen[12])


def test_a_first_score_that_is_no_number_is_not_kept(tmp_path: Path) -> None:
    made = task(elbo_learner(), scores(float("nan"), 3.0, 4.0, 4.0, 4.0, 4.0))
    outcome = run(made, plan(), FolderStore(tmp_path))
    assert (outcome.kept_step, outcome.kept_score) == (8, 3.0)


def test_without_scores_the_last_weights_are_kept(tmp_path: Path) -> None:
    made = task(elbo_learner(), lambda model, step: Validation({"seen": 1.0}))
    outcome = run(made, plan(), FolderStore(tmp_path))
    assert (outcome.kept_step, outcome.kept_score) == (24, None)


@pytest.mark.parametrize(
    ("values", "end"),
    [
        ((100.0, 80.0, 79.5, 70.0, 60.0, 50.0), 12),  # 0.6 % gained
        ((100.0, 80.0, 90.0, 70.0, 60.0, 50.0), 12),  # worse
        ((-10.0, -20.0, -20.1, -30.0, -40.0, -50.0), 12),  # negative scores gain downwards
        ((100.0, 90.0, 80.0, 70.0, 60.0, 50.0), 24),
    ],
)
def test_it_stops_when_it_gains_too_little(
    values: tuple[float, ...], end: int, tmp_path: Path
) -> None:
    made, store = task(elbo_learner(), scores(*values)), MortalStore(tmp_path)
    outcome = run(made, plan(stop_gain=0.01), store)
    assert outcome.step == end and store.steps[-1] == end
    assert outcome.finished
    assert outcome.kept_step == 4 * (1 + int(np.argmin(values[: end // 4])))


def test_what_is_reported(tmp_path: Path) -> None:
    board = Board()
    made = task(elbo_learner(), elbo_score)
    settings = plan(steps=7, log_every=3, checkpoint_every=7, validate_every=7)
    outcome = train(made, settings, 5, 0, None, FolderStore(tmp_path), BoardReporter(board.post))
    events: list[Event] = board.take()
    curves = [event for event in events if event["kind"] == "metrics"]
    assert [event["step"] for event in curves] == [3, 6, 7, 7]
    assert [sorted(event["values"]) for event in curves[2:]] == [
        ["elbo", "kl", "log_likelihood"],
        ["validation_elbo"],
    ]
    last = [event for event in events if event["kind"] == "progress"][-1]
    assert (last["step"], last["steps"]) == (7, 7)
    assert outcome.history == [{"step": each["step"], **each["values"]} for each in curves]
