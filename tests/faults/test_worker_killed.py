"""A worker killed in mid-step: training goes on by itself, as if nothing had happened."""

from __future__ import annotations

import json

import pytest

from tests.faults.conftest import EVERY, STEPS, weights
from tests.faults.processes import WORKER, checkpoints, start, until, whole_checkpoints
from tests.pipelines.small_project import Project

pytestmark = pytest.mark.fault


def test_training_goes_on_by_itself(toy: Project, undisturbed: bytes) -> None:
    toy.set("runtime.num_workers", 1)
    running = start(toy, "python", "-m", "pipelines.stages.pretrain", "vae-toy")
    until(lambda: whole_checkpoints(toy), "a checkpoint")
    worker = running.descendant(WORKER)
    worker.kill()
    assert running.wait() == 0, running.words
    steps = [EVERY * number for number in range(1, STEPS // EVERY)]
    assert any(f"goes on from the checkpoint of step {step}" in running.words for step in steps)
    assert "lost worker 0" in running.words
    assert weights(toy) == undisturbed
    figures = json.loads((toy.root / "metrics/pretrain/vae-toy.json").read_text())
    assert figures["steps"] == STEPS and figures["rollbacks"] == 0
    assert not checkpoints(toy), "checkpoints of a finished training are kept"
