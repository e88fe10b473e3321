"""Entry points of MLflow Projects: the same code, outputs and rows as DVC's stages."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import yaml
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from pipelines.runtime.identity import REPOSITORY
from pipelines.runtime.projects import ROW_TAG
from pipelines.runtime.settings import load_params
from pipelines.runtime.settings.paths import assigned
from pipelines.runtime.tracking import MODEL_TAG
from tests.pipelines.finished_project import rows
from tests.pipelines.small_project import Project

pytestmark = pytest.mark.pipeline
PROJECT = "mlflow_projects/vaebm"
ENTRY_POINTS = yaml.safe_load((REPOSITORY / PROJECT / "MLproject").read_text())["entry_points"]


def mlflow_run(
    project: Project,
    entry_point: str,
    *parameters: str,
    folder: Path | None = None,
    check: bool = True,
    **environment: str,
) -> subprocess.CompletedProcess[str]:
    """`mlflow run` of an entry point, called in the project's folder or another."""
    given = [word for parameter in parameters for word in ("-P", parameter)]
    return Project(folder or project.root).run(
        *("mlflow", "run", str(project.root / PROJECT), "-e", entry_point),
        *("--env-manager", "local", *given),
        check=check,
        **environment,
    )


def launches(project: Project, entry_point: str) -> list[Run]:
    """The runs that `mlflow run` made, the latest first."""
    client = MlflowClient(tracking_uri=f"sqlite:///{project.root}/mlflow.db")
    everywhere = [each.experiment_id for each in client.search_experiments()]
    tag = f"tags.`mlflow.project.entryPoint` = '{entry_point}'"
    return list(client.search_runs(everywhere, tag))


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


def test_the_same_as_dvc(made_copy: Project) -> None:
    written, row = contents(made_copy.root / "models/vaebm-toy"), rows(made_copy)["vaebm-toy"]
    shutil.rmtree(made_copy.root / "models/vaebm-toy")
    mlflow_run(made_copy, "compose", "name=vaebm-toy")
    assert contents(made_copy.root / "models/vaebm-toy") == written
    assert "up to date" in made_copy.run("dvc", "status", "sample@vaebm-toy").stdout
    again = rows(made_copy)["vaebm-toy"]  # fails if the model has a second row
    assert again.info.run_id == row.info.run_id and again.info.status == "FINISHED"
    (launch,) = launches(made_copy, "compose")
    assert launch.info.status == "FINISHED" and launch.data.params["name"] == "vaebm-toy"
    assert launch.data.tags[ROW_TAG] == row.info.run_id
    assert MODEL_TAG not in launch.data.tags


@pytest.mark.slow
def test_other_settings_from_another_folder(made_copy: Project, tmp_path: Path) -> None:
    root, name, other = made_copy.root, "name=vaebm-toy", "compose.vaebm-toy.max_gap=60"
    there = {
        "MLFLOW_TRACKING_URI": f"sqlite:///{root}/mlflow.db",
        "MLFLOW_EXPERIMENT_NAME": "symbiosis",
    }
    settings = (root / "params.yaml").read_bytes()
    mlflow_run(made_copy, "compose", name, "seed=1", other, folder=tmp_path, **there)
    story = json.loads((root / "models/vaebm-toy/model.json").read_text())
    trained = load_params(root / "params.yaml").compose["vaebm-toy"].model_dump(mode="json")
    assert story["settings"] == trained | {"seed": 1, "max_gap": 60.0}
    assert (root / "params.yaml").read_bytes() == settings
    launch = launches(made_copy, "compose")[0]
    client = MlflowClient(tracking_uri=there["MLFLOW_TRACKING_URI"])
    row = client.get_run(launch.data.tags["mlflow.parentRunId"])
    assert row.data.tags[MODEL_TAG] == "vaebm-toy" and row.data.params["seed"] == "1"

    # What the training was given must be given to what reads the model too.
    refused = mlflow_run(made_copy, "sample", name, "count=125", check=False)
    assert refused.returncode == 1
    assert "compose.vaebm-toy.max_gap was 60.0, is 50.0" in refused.stderr
    seed = "compose.vaebm-toy.seed=1"
    mlflow_run(made_copy, "sample", name, "count=125", seed, other)
    assert np.load(root / "samples/vaebm-toy/draw-0.npy").shape == (125, 2)
    sampled, failed = launches(made_copy, "sample")
    assert (sampled.info.status, failed.info.status) == ("FINISHED", "FAILED")
    assert sampled.data.tags[ROW_TAG] == row.info.run_id
    everything = client.search_runs([each.experiment_id for each in client.search_experiments()])
    assert {run.info.status for run in everything} == {"FINISHED", "FAILED"}
    assert not list(tmp_path.glob("ml*")), "MLflow left something in the folder of the call"


@pytest.mark.parametrize("stage", ENTRY_POINTS)
def test_entry_points_fit_params_yaml(stage: str) -> None:
    entry_point, folder = ENTRY_POINTS[stage], REPOSITORY / PROJECT
    parameters = entry_point["parameters"]
    assert f"-m pipelines.stages.{stage} " in entry_point["command"]
    assert (REPOSITORY / f"pipelines/stages/{stage}.py").is_file()
    assert (folder / "../../params.yaml").is_file() and not (folder / "params.yaml").exists()
    # Of all values that a parameter could have by default, only names are not those of params.yaml.
    defaults = {key: each["default"] for key, each in parameters.items()}
    assert {key for key, default in defaults.items() if default != ""} == {"name", "params"}
    command = entry_point["command"].format(
        **dict.fromkeys(parameters, "1") | {"name": defaults["name"], "params": "params.yaml"}
    )
    given = [word for word in command.split() if "=" in word]
    assert len(given) == len(parameters) - 2
    load_params(REPOSITORY / "params.yaml", assigned(given))
