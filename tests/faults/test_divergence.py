"""An energy that diverges: seen in time, rolled back, reseeded, and what is exported is sound."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from components.models.export import load_model, read_story
from pipelines.runtime.tracking import MODEL_TAG
from tests.faults.conftest import copied
from tests.pipelines.small_project import Project

pytestmark = pytest.mark.fault
LOG_EVERY, WARM_STEPS, STEPS, ROLLBACKS = 5, 40, 200, 2


@pytest.fixture(scope="module")
def with_base(prepared: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A base, and an energy that learns sanely for 40 steps and then far too fast."""
    project = copied(prepared, tmp_path_factory.mktemp("divergence") / "project")
    project.set("pretrain.vae-toy.plan.steps", 50)
    project.stage("pretrain", "vae-toy")
    project.stage("features", "25-gaussians")
    plan = project.settings()["compose"]["vaebm-toy"]["plan"]
    plan |= {"steps": STEPS, "log_every": LOG_EVERY, "max_rollbacks": ROLLBACKS}
    project.set("compose.vaebm-toy.plan", plan | {"checkpoint_every": 20, "validate_every": 20})
    project.set("compose.vaebm-toy.warm_start.steps", WARM_STEPS)
    project.set("compose.vaebm-toy.optimiser.learning_rate", 100.0)
    return project


def figures(project: Project) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(
        (project.root / "metrics/compose/vaebm-toy.json").read_text()
    )
    return content


def mlflow_run(project: Project) -> tuple[MlflowClient, Run]:
    client = MlflowClient(tracking_uri=f"sqlite:///{project.root}/mlflow.db")
    (run,) = client.search_runs(["1"], f"tags.`{MODEL_TAG}` = 'vaebm-toy'")
    return client, run


@pytest.mark.parametrize(
    "select",
    [{"kind": "last"}, {"kind": "energy-distance", "count": 500}],
    ids=["last-stable", "best-score"],
)
def test_the_whole_story(with_base: Project, tmp_path: Path, select: dict[str, Any]) -> None:
    project = copied(with_base, tmp_path / "project")
    project.set("compose.vaebm-toy.select", select)
    done = project.stage("compose", "vaebm-toy")

    found = figures(project)
    story = found["divergences"]
    assert found["rollbacks"] == len(story) == ROLLBACKS + 1
    assert found["finished"] is False
    # Seen at the first report after it began, and rolled back to the last checkpoint before it.
    first = story[0]["step"]
    assert WARM_STEPS < first <= WARM_STEPS + 2 * LOG_EVERY
    assert all("energy gap" in each["reason"] or "finite" in each["reason"] for each in story)
    assert found["steps"] == found["kept_step"] or select["kind"] != "last"
    assert 0 < found["kept_step"] <= first

    # The attempts that were rolled back are beside the curves, each to its end.
    diverged = (project.root / "plots/compose/vaebm-toy/diverged.csv").read_text()
    rows = list(csv.DictReader(diverged.splitlines()))
    ends = {int(row["attempt"]): int(row["step"]) for row in rows}
    assert ends == {number: each["step"] for number, each in enumerate(story, start=1)}

    # The exported model is that checkpoint, and samples from it.
    assert read_story(project.root / "models/vaebm-toy")["kept_step"] == found["kept_step"]
    model = load_model(project.root / "models/vaebm-toy")
    assert all(bool(value.isfinite().all()) for value in model.state_dict().values())
    energy = model.energy(torch.zeros(3, 2))  # type: ignore[operator]
    assert bool(energy.isfinite().all())

    for number in range(1, ROLLBACKS + 1):
        assert f"with another random stream, {number} of {ROLLBACKS} times" in done.stderr
    exported = f"the weights of step {found['kept_step']} are exported"
    assert f"did not get over its divergence; {exported}" in done.stderr

    client, run = mlflow_run(project)
    assert run.info.status == "FINISHED"
    told = run.data.tags["rolled_back"]
    assert told == "; ".join(f"step {each['step']}: {each['reason']}" for each in story)
    points = client.get_metric_history(run.info.run_id, "rollbacks")
    steps = [(point.step, point.value) for point in points if point.step > 0]
    assert steps == [(each["step"], number) for number, each in enumerate(story, start=1)]


def test_the_best_is_chosen_by_its_score(with_base: Project, tmp_path: Path) -> None:
    project = copied(with_base, tmp_path / "project")
    project.set("compose.vaebm-toy.select", {"kind": "energy-distance", "count": 500})
    project.stage("compose", "vaebm-toy")
    rows = (project.root / "plots/compose/vaebm-toy/validation.csv").read_text().splitlines()[1:]
    scores = {int(step): float(score) for step, score in (row.split(",") for row in rows)}
    assert len(scores) >= 2
    assert figures(project)["kept_step"] == min(scores, key=lambda step: scores[step])


def test_at_a_sane_rate_there_is_no_story(with_base: Project, tmp_path: Path) -> None:
    """Else the tests above would show nothing."""
    project = copied(with_base, tmp_path / "project")
    project.set("compose.vaebm-toy.optimiser.learning_rate", 1.0e-3)
    project.set("compose.vaebm-toy.plan.steps", 60)
    done = project.stage("compose", "vaebm-toy")
    found = figures(project)
    assert "divergences" not in found and found["rollbacks"] == 0
    assert "diverge" not in done.stderr
