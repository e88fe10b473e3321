"""Whole sweeps through Ray Tune and MLflow: sampling, training, trials that fail, a kill."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from pipelines.sweeps.rows import PARENT_TAG, STATUS_TAG, TRIAL_TAG
from tests.pipelines.runtime.test_short_run_settings import noise_free
from tests.pipelines.small_project import POINTS, Content, Project
from tests.pipelines.sweeps.entries import COMPOSE, SAMPLE, choice, sampling, training

pytestmark = pytest.mark.pipeline
KEY = "validation_energy_distance"
PATIENCE = 120.0
"""Seconds until a process that hangs fails the test; no measure of speed."""


def client_of(project: Project) -> MlflowClient:
    return MlflowClient(tracking_uri=f"sqlite:///{project.root}/mlflow.db")


def rows_of(project: Project) -> tuple[Run, list[Run]]:
    """The rows in MLflow: the sweep's own, and its trials'."""
    runs = client_of(project).search_runs(["1"])
    trials = [run for run in runs if PARENT_TAG in run.data.tags]
    (own,) = [run for run in runs if PARENT_TAG not in run.data.tags]
    assert {run.data.tags[PARENT_TAG] for run in trials} == {own.info.run_id}
    return own, trials


def trials_of(project: Project, name: str) -> list[dict[str, str]]:
    with (project.root / f"report/sweeps/{name}/trials.csv").open() as file:
        return list(csv.DictReader(file))


def figures_of(project: Project, name: str) -> Content:
    content: Content = json.loads((project.root / f"metrics/sweep/{name}.json").read_text())
    return content


def test_sampling(swept: Project) -> None:
    steps, size = f"{SAMPLE}.steps", f"{SAMPLE}.step_size"
    sweep = sampling({steps: choice(2, 4, -1), size: choice(0.01, 1.0e30)})
    swept.set("sweeps", {"chains": sweep})
    done = swept.stage("sweep", "chains")
    assert "Traceback" not in done.stderr
    table = trials_of(swept, "chains")
    assert {(row["steps"], row["step_size"]): row["status"] for row in table} == {
        ("2", "0.01"): "complete",
        ("4", "0.01"): "complete",
        ("2", "1e+30"): "diverged",
        ("4", "1e+30"): "diverged",
        ("-1", "0.01"): "failed",
        ("-1", "1e+30"): "failed",
    }
    judged = [row for row in table if row["status"] == "complete"]
    assert [row["nfe"] for row in judged] == [row["steps"] for row in judged]
    assert all(float(row[f"{KEY}_std"]) > 0.0 for row in judged)
    assert all("not finite" in row["reason"] for row in table if row["status"] == "diverged")
    assert all("greater than or equal to 1" in row["reason"] for row in table[-2:])
    found = figures_of(swept, "chains")
    lowest = min(float(row[KEY]) for row in judged)
    assert found[KEY] == pytest.approx(lowest, rel=1e-5)
    assert found["best"] == {steps: found["nfe"], size: 0.01}
    assert (found["trials"], found["complete"], found["diverged"], found["failed"]) == (6, 2, 2, 2)
    page = (swept.root / "report/sweeps/chains/index.html").read_text()
    assert page.count("data:image/png;base64,") == 2 + 2  # both pictures and two sample grids
    check_rows(swept)
    assert not list((swept.root / ".ray").iterdir()), "state of a finished sweep is kept"
    check_apply(swept, found["best"])


def check_rows(project: Project) -> None:
    """All trials have ended below one row, those with samples with a picture of them."""
    own, trials = rows_of(project)
    assert own.info.status == "FINISHED" and own.data.metrics[KEY] > 0.0
    assert sorted(run.info.status for run in trials) == ["FAILED"] * 4 + ["FINISHED"] * 2
    for run in trials:
        artifacts = Path(run.info.artifact_uri.removeprefix("file://"))
        has_picture = bool(list((artifacts / "images").glob("samples*.png")))
        assert has_picture == (KEY in run.data.metrics), run.data.tags


def check_apply(project: Project, best: Content) -> None:
    """The best settings and nothing else come into params.yaml."""
    expected = project.settings()
    project.run("python", "-m", "pipelines.sweeps.apply", "chains")
    for path, value in best.items():
        expected["sample"]["vaebm-toy"]["langevin"][path.rpartition(".")[2]] = value
    assert project.settings() == expected


def test_training_with_early_stops(swept: Project) -> None:
    noise = f"{COMPOSE}.noise_scale"
    swept.set("sweeps", {"noise": training({noise: choice(1.0, 30.0, 1.0e30)})})
    swept.stage("sweep", "noise")
    table = {float(row["noise_scale"]): row for row in trials_of(swept, "noise")}
    status = {value: row["status"] for value, row in table.items()}
    assert status == {1.0: "complete", 30.0: "stopped", 1.0e30: "diverged"}
    assert table[1.0]["step"] == "12" and table[30.0]["step"] == "6"
    assert "after 1 rollback" in table[1.0e30]["reason"]
    assert float(table[30.0][KEY]) > float(table[1.0][KEY])
    found = figures_of(swept, "noise")
    assert found["best"] == {noise: 1.0} and found["nfe"] == 3
    assert (found["complete"], found["stopped"], found["diverged"]) == (1, 1, 1)
    own, trials = rows_of(swept)
    assert own.info.status == "FINISHED"
    ends = {run.data.tags[STATUS_TAG]: run.info.status for run in trials}
    assert ends == {"complete": "FINISHED", "stopped": "FINISHED", "diverged": "FAILED"}
    (stopped,) = [run for run in trials if run.data.tags[STATUS_TAG] == "stopped"]
    curve = client_of(swept).get_metric_history(stopped.info.run_id, KEY)
    assert {point.step for point in curve if point.step > 0} == {2, 4, 6}
    assert not list((swept.root / ".ray").iterdir())


@pytest.mark.fault
@pytest.mark.slow
def test_training_of_a_base_that_samples_by_chains(swept: Project) -> None:
    plan = swept.settings()["pretrain"]["vae-toy"]["plan"] | {"steps": 4, "validate_every": 2}
    energy = {"kind": "fully-connected", "hidden": [8], "input_scale": 4.0}
    energy |= {"fourier": [], "fourier_count": 1, "normalisation": "none"}
    toy = noise_free() | {"data": POINTS, "energy": energy, "plan": plan}
    swept.set("pretrain", swept.settings()["pretrain"] | {"ebm-toy": toy})
    steps = "pretrain.ebm-toy.langevin.steps"
    own = {"model": "ebm-toy", "fixed": {}, "trial": {"kind": "training"}}
    own["trial"] |= {"scheduler": {"kind": "none"}}
    swept.set("sweeps", {"steps": sampling({steps: choice(2, 5)}, **own | {"reads": "ebm-toy"})})
    swept.stage("pretrain", "ebm-toy")
    swept.stage("sweep", "steps")
    table = trials_of(swept, "steps")
    assert sorted((row["steps"], row["nfe"], row["status"]) for row in table) == [
        ("2", "2", "complete"),
        ("5", "5", "complete"),
    ]
    assert table[0][KEY] != table[1][KEY]
    # A base that is not chosen by its samples cannot be judged by them.
    own |= {"model": "vae-toy", "reads": "vae-toy"}
    swept.set("sweeps", {"vae": sampling({"pretrain.vae-toy.beta": choice(1.0)}, **own)})
    done = swept.stage("sweep", "vae", check=False)
    assert done.returncode == 2 and "is of a model that has `select`" in done.stderr


@pytest.mark.slow
def test_a_killed_sweep_goes_on(swept: Project) -> None:
    sweep = sampling(
        {f"{SAMPLE}.step_size": {"kind": "log-uniform", "low": 0.001, "high": 0.1}},
        search={"kind": "optuna", "trials": 4, "seed": 0},
        resources={"cpus": 1, "gpus": 0, "at_once": 1},
    )
    sweep["fixed"][f"{SAMPLE}.steps"] = 2500  # long enough for the kill to find trials left
    swept.set("sweeps", {"killed": sweep})
    kill_after_two_trials(swept, "killed")
    own, before = rows_of(swept)
    assert own.info.status == "RUNNING"
    ended = {run.info.run_id: run.info.end_time for run in before if run.info.end_time}
    assert 2 <= len(ended) < 4
    swept.stage("sweep", "killed")
    own, trials = rows_of(swept)
    assert own.info.status == "FINISHED" and len(trials) == 4
    assert {run.info.status for run in trials} == {"FINISHED"}
    after = {run.info.run_id: run.info.end_time for run in trials}
    assert ended.items() <= after.items(), "a trial that had ended was run again"
    assert len({run.data.tags[TRIAL_TAG] for run in trials}) == 4
    assert figures_of(swept, "killed")["complete"] == 4


def kill_after_two_trials(project: Project, name: str) -> None:
    """Start a sweep; kill its process once Tune has kept two ended trials."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    process = subprocess.Popen(
        (sys.executable, "-m", "pipelines.stages.sweep", name),
        cwd=project.root,
        env={**os.environ, "PATH": path, "PYTHONPATH": str(project.root)},
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + PATIENCE
        while kept_trials(project) < 2:
            assert process.poll() is None, "the sweep ended before it was killed"
            assert time.monotonic() < deadline, "no two trials within the time"
            time.sleep(0.1)
    finally:
        process.kill()
        process.wait()


def kept_trials(project: Project) -> int:
    """Ended trials in the state that Tune keeps for a later start."""
    states = sorted((project.root / ".ray").glob("sweep-*/tune/experiment_state-*.json"))
    if not states:
        return 0
    try:
        content = json.loads(states[-1].read_text())
    except ValueError:  # caught in the middle of a write
        return 0
    return sum(json.loads(trial)["status"] == "TERMINATED" for trial, _ in content["trial_data"])


def test_the_default_workflow_has_no_sweep(swept: Project) -> None:
    swept.set("sweeps", {"chains": sampling({f"{SAMPLE}.steps": choice(2, 4)})})
    swept.run("git", "init", "-q")
    swept.run("dvc", "init", "-q")
    listed = swept.run("dvc", "stage", "list", "--name-only").stdout.split()
    assert "compose@vaebm-toy" in listed
    assert not [name for name in listed if "sweep" in name]
    # Nothing in it reads what a sweep writes either: that would make the sweep a part of it.
    upstream = swept.run("dvc", "dag", "--dot", "dvc.yaml").stdout
    assert '"compose@vaebm-toy"' in upstream and "sweep@" not in upstream
    target = "pipelines/sweeps/dvc.yaml:sweep@chains"
    needed = swept.run("dvc", "dag", "--dot", target).stdout
    assert f'"compose@vaebm-toy" -> "{target}"' in needed
