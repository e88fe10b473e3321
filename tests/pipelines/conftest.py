"""Small projects for the tests of stages."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

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
