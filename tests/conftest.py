"""How the suite is shared out to processes that run side by side (pytest-xdist)."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
# What tests of one of these folders share takes long to make.
FOLDERS = [TESTS / "cluster", TESTS / "faults", TESTS / "pipelines/sweeps"]
SHARED_PROJECT = "made"  # the fixture that takes longest; tests of several folders use it


def pytest_configure(config: pytest.Config) -> None:
    """Keep the processes' Ray clusters apart: one that is started is joined by who finds it."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        # Near the root: Ray keeps sockets there, whose paths must be short.
        folder = tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True)
        os.environ["RAY_TMPDIR"] = folder.name
        config.add_cleanup(folder.cleanup)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave tests that share what takes long to make to one process."""
    for item in items:
        item.add_marker(pytest.mark.xdist_group(_group(item)))


def _group(item: pytest.Item) -> str:
    if SHARED_PROJECT in getattr(item, "fixturenames", ()):
        return SHARED_PROJECT
    shared = next((folder for folder in FOLDERS if item.path.is_relative_to(folder)), item.path)
    return str(shared)
