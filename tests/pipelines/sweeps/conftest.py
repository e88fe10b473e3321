"""A small project with a trained toy composition, for sweeps over it."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import pytest

from pipelines.runtime.identity import REPOSITORY
from pipelines.runtime.settings import load_params
from pipelines.stages import compose, features, fetch, pretrain, shard
from tests.pipelines.small_project import POINTS, Project, copy_project


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose toy composition is trained."""
    project = copy_project(tmp_path_factory.mktemp("sweeps"))
    shutil.copy(REPOSITORY / "pipelines/sweeps/dvc.yaml", project.root / "pipelines/sweeps")
    params = load_params(project.root / "params.yaml")
    with contextlib.chdir(project.root):
        for stage in (fetch, shard, features):
            stage.main(POINTS, params)
        pretrain.main("vae-toy", params)
        compose.main("vaebm-toy", params)
    return project.root


@pytest.fixture
def swept(trained: Path, tmp_path: Path) -> Project:
    """A project of the test's own, to sweep in."""
    root = tmp_path / "project"
    shutil.copytree(trained, root, ignore=shutil.ignore_patterns("mlflow.db", "mlartifacts"))
    return Project(root)
