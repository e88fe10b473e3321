"""The MLflow Project of latent flows: its parameters are settings, its entry points are stages."""

from __future__ import annotations

import json

import pytest
import yaml
from mlflow.tracking import MlflowClient

from components.errors import UserError
from pipelines.runtime.identity import REPOSITORY
from pipelines.runtime.settings import load_params
from pipelines.runtime.settings.paths import assigned
from tests.pipelines.small_project import IMAGES, Project
from tests.pipelines.test_latent_workflow import settings_of

PROJECT = "mlflow_projects/glf"
PARAMS = "pipelines/latent_flow/params.yaml"
ENTRY_POINTS = yaml.safe_load((REPOSITORY / PROJECT / "MLproject").read_text())["entry_points"]


def assignments(stage: str, **values: str) -> list[str]:
    """What an entry point's command gives to --set; parameters without a value are 1."""
    parameters = ENTRY_POINTS[stage]["parameters"]
    defaults = {key: each["default"] for key, each in parameters.items()}
    filled = {key: default or "1" for key, default in defaults.items()} | values
    command = ENTRY_POINTS[stage]["command"].format(**filled)
    return [word for word in command.split() if "=" in word]


@pytest.mark.parametrize("stage", ENTRY_POINTS)
def test_an_entry_point_fits_the_settings(stage: str) -> None:
    parameters, command = (ENTRY_POINTS[stage][key] for key in ("parameters", "command"))
    assert f"-m pipelines.stages.{stage} {{name}} --params {{params}}" in command
    assert (REPOSITORY / f"pipelines/stages/{stage}.py").is_file()
    # Of all values that a parameter could have by default, only names are not the settings file's.
    defaults = {key: each["default"] for key, each in parameters.items() if each["default"]}
    assert defaults.keys() == {"name", "params"} and defaults["params"] == PARAMS
    other = {"stop_gradient": "false"} if stage == "pretrain" else {}
    given = assignments(stage, **other)
    assert len(given) == len(parameters) - 2
    changed = load_params(REPOSITORY / PARAMS, assigned(given))
    assert defaults["name"] in getattr(changed, stage)
    if given:
        assert changed != load_params(REPOSITORY / PARAMS)


def test_what_an_entry_has_not_is_refused_by_name() -> None:
    given = assigned(assignments("pretrain", name="vae-mnist", stop_gradient="false"))
    with pytest.raises(UserError, match=r"no pretrain\.vae-mnist\.prior\.blocks: `blocks` is not"):
        load_params(REPOSITORY / PARAMS, given)


@pytest.mark.slow
@pytest.mark.pipeline
def test_a_run_trains_what_it_was_told(project: Project) -> None:
    settings_of(project)
    for stage in ("fetch", "shard", "features"):
        project.stage(stage, IMAGES)
    words = ["name=glf", "params=params.yaml", "steps=5", "weight=3", "hidden=4"]
    project.run(
        *("mlflow", "run", str(project.root / PROJECT), "-e", "pretrain", "--env-manager", "local"),
        *(word for each in words for word in ("-P", each)),
    )
    settings = json.loads((project.root / "models/glf/model.json").read_text())["settings"]
    assert settings["plan"]["steps"] == 5 and settings["prior"]["hidden"] == 4
    assert settings["reconstruction"]["weight"] == 3.0
    client = MlflowClient(tracking_uri=f"sqlite:///{project.root}/mlflow.db")
    everywhere = [each.experiment_id for each in client.search_experiments()]
    (launch,) = client.search_runs(everywhere, "tags.`mlflow.project.entryPoint` = 'pretrain'")
    assert launch.info.status == "FINISHED"
