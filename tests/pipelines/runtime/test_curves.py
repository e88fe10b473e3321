"""The curves that a training leaves, those of attempts that diverged among them."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from pipelines.runtime.stage import _write_curves
from pipelines.runtime.task import Outcome

GOOD = [{"step": 5, "loss": 1.0, "gap": 0.5}, {"step": 5, "validation_nll": 2.0}]
# The first report of an attempt may lack a figure that was not finite, or be a validation's.
LOST: list[dict[str, float]] = [
    {"attempt": 1, "step": 10, "gap": 9.0},
    {"attempt": 1, "step": 10, "validation_nll": 7.0},
    {"attempt": 2, "step": 10, "loss": 4.0, "gap": 8.0},
]


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


@pytest.mark.parametrize("history", [GOOD, []], ids=["some", "none-before-it-diverged"])
def test_diverged_attempts_are_told_whole(tmp_path: Path, history: list[dict[str, float]]) -> None:
    _write_curves(tmp_path, Outcome(history=history, abandoned=LOST))
    assert [
        (row["attempt"], row["loss"], row["gap"]) for row in rows(tmp_path / "diverged.csv")
    ] == [
        ("1", "", "9"),
        ("2", "4", "8"),
    ]
    assert len(rows(tmp_path / "training.csv")) == len(rows(tmp_path / "validation.csv"))
    assert len(rows(tmp_path / "training.csv")) == len(history) // 2


def test_without_divergence_there_is_no_such_file(tmp_path: Path) -> None:
    _write_curves(tmp_path, Outcome(history=GOOD))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["training.csv", "validation.csv"]
