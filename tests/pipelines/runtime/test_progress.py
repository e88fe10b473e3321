"""What a user sees of a training whose output is no terminal, and what reaches the log."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import termios
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from pipelines.runtime import progress
from pipelines.runtime.identity import REPOSITORY
from pipelines.runtime.progress import Board, BoardReporter, Follower, ProgressDisplay


class Kept:
    """A log that keeps what it is given."""

    def __init__(self) -> None:
        self.curves: list[tuple[int, dict[str, float], int]] = []
        self.pictures: list[tuple[int, str, tuple[int, ...]]] = []

    def metrics(self, step: int, values: Mapping[str, float], milliseconds: int) -> None:
        self.curves.append((step, dict(values), milliseconds))

    def picture(self, step: int, name: str, image: np.ndarray[Any, Any]) -> None:
        self.pictures.append((step, name, image.shape))


def test_lines_where_there_is_no_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    display = ProgressDisplay("pretrain vae", "steps")
    for step in range(1, 101):
        display.show(step, 100, "elbo -1.5")
    display.close()
    out, err = capfd.readouterr()
    assert out == ""
    first, last = err.splitlines()  # the first and the last, nothing between within ten seconds
    assert first == "pretrain vae: steps 1/100 (elbo -1.5)"
    assert re.fullmatch(r"pretrain vae: steps 100/100, \S+ steps/s \(elbo -1\.5\)", last)


def test_a_line_now_and_then_with_pace_and_time_left(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "QUIET_SECONDS", 0.0)
    display = ProgressDisplay("sample vae", "items")
    display.show(10, 40)
    display.show(20, 40)
    lines = capfd.readouterr().err.splitlines()
    assert lines[0] == "sample vae: items 10/40"
    assert re.fullmatch(r"sample vae: items 20/40, \S+ items/s, \d+ s left", lines[1])


def test_a_bar_on_a_terminal() -> None:
    program = (
        "from pipelines.runtime.progress import ProgressDisplay\n"
        "display = ProgressDisplay('pretrain vae')\n"
        "display.show(1, 4, 'elbo -1.5'); display.show(4, 4, 'elbo -1.2'); display.close()\n"
    )
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    subprocess.run([sys.executable, "-c", program], stderr=theirs, cwd=REPOSITORY, check=True)
    os.close(theirs)
    seen = os.read(ours, 1 << 16).decode()
    os.close(ours)
    assert "pretrain vae: 100%|" in seen and "4/4" in seen and "elbo -1.2" in seen
    assert "\r" in seen and "steps/s" in seen


def test_events_reach_display_and_log_in_order(capfd: pytest.CaptureFixture[str]) -> None:
    board, log = Board(), Kept()
    reporter = BoardReporter(board.post)
    with Follower("compose vaebm", board.take, log):
        for step in (1, 2, 3):
            reporter.metrics(step, {"loss": 1.0 / step})
            reporter.progress(step, 3, f"loss {1.0 / step:.2f}")
        reporter.picture(3, "samples", np.zeros((4, 5, 3), np.uint8))
    # Leaving the block waits until all is written down.
    assert [(step, values) for step, values, _ in log.curves] == [
        (1, {"loss": 1.0}),
        (2, {"loss": 1.0 / 2}),
        (3, {"loss": 1.0 / 3}),
    ]
    assert log.curves[0][2] <= log.curves[1][2] <= log.curves[2][2]
    assert log.pictures == [(3, "samples", (4, 5, 3))]
    assert "compose vaebm: steps 3/3" in capfd.readouterr().err
    assert board.take() == []


def test_an_error_in_training_passes_through(capfd: pytest.CaptureFixture[str]) -> None:
    board, log = Board(), Kept()
    with pytest.raises(ValueError, match="in training"), Follower("pretrain", board.take, log):
        BoardReporter(board.post).metrics(1, {"loss": 1.0})
        raise ValueError("in training")
    assert len(log.curves) == 1  # what happened before it is kept
