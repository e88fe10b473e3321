"""The small project with all its stages done, which several test files read."""

from __future__ import annotations

import contextlib
import re
import shutil
from pathlib import Path

from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from pipelines.runtime.identity import REPOSITORY
from pipelines.runtime.settings import load_params
from pipelines.runtime.tracking import MODEL_TAG
from pipelines.stages import fetch, shard
from tests.pipelines.small_project import IMAGES, Project, copy_project


def finished_project(root: Path) -> Project:
    """A project under git whose `dvc repro` is done: one training inside Ray, all others not."""
    project = copy_project(root)
    shutil.copy(REPOSITORY / ".gitignore", project.root)
    project.run("git", "init", "-q")
    project.run("git", "config", "user.email", "test@localhost")
    project.run("git", "config", "user.name", "test")
    project.run("dvc", "init", "-q")
    get_data_in_this_process(project)
    project.set("runtime.num_workers", 1)
    on_ray = project.run("dvc", "repro", "pretrain@vae-toy")
    assert stages_run(on_ray.stdout) == ["pretrain@vae-toy"]
    project.set("runtime.num_workers", 0)
    # Where work runs changes no result: the base that Ray has trained is not trained again.
    rest = stages_run(project.run("dvc", "repro").stdout)
    assert rest[:2] == ["fetch@digits", "shard@digits"] and rest[-1] == "report@index", rest
    assert "pretrain@vae-digits" in rest and "pretrain@vae-toy" not in rest, rest
    project.run("git", "add", "-A")
    project.run("git", "commit", "-q", "-m", "first")
    return project


def get_data_in_this_process(project: Project) -> None:
    """Spare all but one data set's stages a start of Python each: DVC is told they have run."""
    params, made = load_params(project.root / "params.yaml"), []
    with contextlib.chdir(project.root):
        for name in params.fetch.keys() - {IMAGES}:
            fetch.main(name, params)
            shard.main(name, params)
            made += [f"fetch@{name}", f"shard@{name}"]
    project.run("dvc", "commit", "--force", *made)


def stages_run(output: str) -> list[str]:
    """The stages that `dvc repro` says it ran."""
    return re.findall(r"^Running stage '(.+)':", output, re.MULTILINE)


def rows(project: Project) -> dict[str, Run]:
    """The MLflow row of each model."""
    client = MlflowClient(tracking_uri=f"sqlite:///{project.root}/mlflow.db")
    experiment = client.get_experiment_by_name("symbiosis")
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id])
    by_model = {run.data.tags[MODEL_TAG]: run for run in found}
    assert len(by_model) == len(found), "more than one row for a model"
    return by_model
