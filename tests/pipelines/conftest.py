"""Small projects for the tests of stages, and what the stages before a comparison leave."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import pytest

from pipelines.stages import compare, report
from tests.pipelines.finished_project import finished_project
from tests.pipelines.site import Site, build_site
from tests.pipelines.small_project import Project, copy_project


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that nobody runs anything in."""
    return copy_project(tmp_path_factory.mktemp("template")).root


@pytest.fixture
def project(template: Path, tmp_path: Path) -> Project:
    """A project of the test's own."""
    root = tmp_path / "project"
    shutil.copytree(template, root)
    return Project(root)


@pytest.fixture(scope="session")
def complete_site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """All inputs of a comparison of points and of one of images. Not to be changed."""
    return build_site(tmp_path_factory.mktemp("site"))


@pytest.fixture
def site(complete_site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A copy of the complete site; the working folder is there."""
    root = tmp_path / "site"
    shutil.copytree(complete_site.root, root)
    monkeypatch.chdir(root)
    return Site(root, complete_site.params)


@pytest.fixture(scope="session")
def reported(complete_site: Site, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where both comparisons and their page have been made. Not to be changed."""
    root = tmp_path_factory.mktemp("reported") / "site"
    shutil.copytree(complete_site.root, root)
    with contextlib.chdir(root):
        for name in complete_site.params.compare:
            compare.main(name, complete_site.params)
        report.main("index", complete_site.params)
    return root


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose `dvc repro` is done. Tests leave its settings and outputs as they were."""
    return finished_project(tmp_path_factory.mktemp("workflow"))


@pytest.fixture
def made_copy(made: Project, tmp_path: Path) -> Project:
    """A copy of it that the test may change; artifacts of its MLflow rows stay where they are."""
    shutil.copytree(made.root, tmp_path / "project")
    return Project(tmp_path / "project")
