"""A small project that trains long enough to be disturbed, and what it gives undisturbed."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import pytest

from pipelines.runtime.settings import load_params
from pipelines.stages import fetch, shard
from tests.pipelines.small_project import POINTS, Project, copy_project

STEPS, EVERY = 2000, 200


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Data in place, DVC told so; nobody trains here."""
    project = copy_project(tmp_path_factory.mktemp("prepared"))
    plan = project.settings()["pretrain"]["vae-toy"]["plan"]
    plan |= {"steps": STEPS, "checkpoint_every": EVERY, "validate_every": EVERY, "log_every": 50}
    project.set("pretrain.vae-toy.plan", plan)
    params = load_params(project.root / "params.yaml")
    with contextlib.chdir(project.root):
        fetch.main(POINTS, params)
        shard.main(POINTS, params)
    project.run("dvc", "init", "-q", "--no-scm")
    project.run("dvc", "commit", "--force", f"fetch@{POINTS}", f"shard@{POINTS}")
    return project


def copied(project: Project, root: Path) -> Project:
    shutil.copytree(project.root, root, symlinks=True)
    return Project(root)


@pytest.fixture
def toy(prepared: Project, tmp_path: Path) -> Project:
    """A project of the test's own, in which `dvc repro pretrain@vae-toy` has only to train."""
    return copied(prepared, tmp_path / "project")


@pytest.fixture(scope="session")
def undisturbed(prepared: Project, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The exported weights of a training that nothing has happened to."""
    project = copied(prepared, tmp_path_factory.mktemp("undisturbed") / "project")
    project.stage("pretrain", "vae-toy")
    return weights(project)


def weights(project: Project, model: str = "vae-toy") -> bytes:
    return (project.root / "models" / model / "weights.safetensors").read_bytes()
