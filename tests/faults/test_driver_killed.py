"""`dvc repro` killed in three ways: the next one goes on, alone, and ends with the same bytes."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import psutil
import pytest
import yaml

from tests.faults.conftest import EVERY, STEPS, weights
from tests.faults.processes import (
    Running,
    gone,
    start,
    until,
    whole_checkpoints,
)
from tests.pipelines.small_project import Project

pytestmark = pytest.mark.fault
REPRO = ("dvc", "repro", "pretrain@vae-toy")
GOES_ON = re.compile(r"goes on from the checkpoint of step (\d+)")


def started(project: Project, workers: int) -> Running:
    """`dvc repro` in the middle of its training."""
    project.set("runtime.num_workers", workers)
    running = start(project, *REPRO)
    until(lambda: whole_checkpoints(project), "a checkpoint")
    return running


def step_gone_on_from(project: Project) -> int:
    """Run `dvc repro` to its end; give the step that it said it goes on from."""
    done = project.run(*REPRO)
    (step,) = GOES_ON.findall(done.stderr)
    return int(step)


def assert_it_goes_on(project: Project, undisturbed: bytes) -> None:
    saved = [int(path.name.removeprefix("step-")) for path in whole_checkpoints(project)]
    assert saved and max(saved) < STEPS, "the training was over before it was killed"
    assert step_gone_on_from(project) in saved
    assert weights(project) == undisturbed


def test_all_of_it_killed(toy: Project, undisturbed: bytes) -> None:
    running = started(toy, workers=1)
    below = running.descendants()
    running.signal_group(signal.SIGKILL)
    running.wait()
    assert gone(below), "something of Ray's is left"
    assert_it_goes_on(toy, undisturbed)


@pytest.mark.slow
def test_dvc_alone_killed(toy: Project, undisturbed: bytes) -> None:
    """What it started would train on, and the next `dvc repro` beside it."""
    running = started(toy, workers=1)
    below = running.descendants()
    running.process.kill()
    running.wait()
    assert any(psutil.pid_exists(each.pid) for each in below)
    # At once: the orphan may still be at work.
    saved = EVERY
    assert step_gone_on_from(toy) >= saved
    assert gone(below), "an orphan trains on"
    assert weights(toy) == undisturbed


@pytest.mark.slow
def test_the_stage_alone_killed(toy: Project, undisturbed: bytes) -> None:
    running = started(toy, workers=1)
    stage = running.descendant("pipelines.stages.pretrain")
    below = stage.children(recursive=True)
    stage.kill()
    assert running.wait() != 0
    assert gone(below), "Ray's processes have outlived their driver"
    assert_it_goes_on(toy, undisturbed)


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_interrupted_by_ctrl_c(toy: Project, undisturbed: bytes, workers: int) -> None:
    running = started(toy, workers)
    below = running.descendants()
    running.signal_group(signal.SIGINT)
    assert running.wait() != 0
    assert "Traceback" not in running.words, running.words
    assert gone(below), "something of Ray's is left"
    assert_it_goes_on(toy, undisturbed)


def killed_in_process(project: Project) -> set[Path]:
    """Kill a training without Ray in its middle; give the folder of its checkpoints."""
    running = started(project, workers=0)
    running.signal_group(signal.SIGKILL)
    running.wait()
    return {path.parent for path in whole_checkpoints(project)}


def assert_it_starts_afresh(project: Project, left: set[Path]) -> None:
    done = project.run(*REPRO)
    assert "Running stage 'pretrain@vae-toy'" in done.stdout
    assert not GOES_ON.search(done.stderr)
    assert left and all(folder.is_dir() for folder in left), "they are still another training's"


def test_changed_settings_start_afresh(toy: Project, undisturbed: bytes) -> None:
    left = killed_in_process(toy)
    toy.set("pretrain.vae-toy.beta", 1.5)
    assert_it_starts_afresh(toy, left)
    assert weights(toy) != undisturbed
    # The old settings' checkpoint is still theirs.
    toy.set("pretrain.vae-toy.beta", 1.0)
    assert step_gone_on_from(toy) >= EVERY
    assert weights(toy) == undisturbed


@pytest.mark.slow
def test_changed_data_starts_afresh(toy: Project, undisturbed: bytes) -> None:
    left = killed_in_process(toy)
    catalogue = toy.root / "data/catalog.yaml"
    content = yaml.safe_load(catalogue.read_text())
    content["25-gaussians"]["source"]["seed"] += 1
    catalogue.write_text(yaml.safe_dump(content, sort_keys=False))
    assert_it_starts_afresh(toy, left)
    assert weights(toy) != undisturbed


@pytest.mark.slow
def test_changed_code_starts_afresh(toy: Project, undisturbed: bytes) -> None:
    left = killed_in_process(toy)
    code = toy.root / "components/learners/elbo.py"
    code.write_text(code.read_text() + "\n# changed\n")
    assert_it_starts_afresh(toy, left)
    assert weights(toy) == undisturbed  # the change was a comment
