"""A checkpoint cut short while being written: the one before it is used, and this is said."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.faults.conftest import weights
from tests.faults.processes import start, until, whole_checkpoints
from tests.pipelines.small_project import Project

pytestmark = pytest.mark.fault


def cut_short(checkpoint: Path) -> None:
    """Leave half of the bytes, as a machine that loses its power may."""
    file = checkpoint / "rank-0-of-1.pt"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def left_unfinished(checkpoint: Path) -> None:
    """Leave a temporary name, as a killed process does."""
    file = checkpoint / "rank-0-of-1.pt"
    file.with_suffix(".sha256").unlink()
    file.rename(checkpoint / f".{file.name}.part")


def step(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix("step-"))


@pytest.mark.parametrize(
    ("workers", "damage"),
    [
        (0, cut_short),
        pytest.param(0, left_unfinished, marks=pytest.mark.slow),
        pytest.param(1, cut_short, marks=pytest.mark.slow),
    ],
)
def test_the_one_before_is_used(
    toy: Project, undisturbed: bytes, workers: int, damage: object
) -> None:
    assert callable(damage)
    toy.set("runtime.num_workers", workers)
    running = start(toy, "python", "-m", "pipelines.stages.pretrain", "vae-toy")
    until(lambda: len(whole_checkpoints(toy)) == 2, "two checkpoints")
    running.signal_group(signal.SIGKILL)
    running.wait()
    older, newer = whole_checkpoints(toy)[-2:]
    damage(newer)
    done = toy.stage("pretrain", "vae-toy")
    said = f"the checkpoint of step {step(newer)} is damaged or cut short; that of step "
    assert f"{said}{step(older)} is used" in done.stderr
    assert f"goes on from the checkpoint of step {step(older)}" in done.stderr
    assert weights(toy) == undisturbed


@pytest.mark.slow
def test_without_a_whole_one_training_starts_afresh(toy: Project, undisturbed: bytes) -> None:
    running = start(toy, "python", "-m", "pipelines.stages.pretrain", "vae-toy")
    until(lambda: whole_checkpoints(toy), "a checkpoint")
    running.signal_group(signal.SIGKILL)
    running.wait()
    for checkpoint in whole_checkpoints(toy):
        cut_short(checkpoint)
    done = toy.stage("pretrain", "vae-toy")
    assert "is damaged or cut short; training starts afresh" in done.stderr
    assert "goes on from" not in done.stderr
    assert weights(toy) == undisturbed
