"""What processes that share out the suite (pytest-xdist) must not share."""

from __future__ import annotations

import os
import tempfile

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Keep the processes' Ray clusters apart: one that is started is joined by who finds it."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        # Near the root: Ray keeps sockets there, whose paths must be short.
        folder = tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True)
        os.environ["RAY_TMPDIR"] = folder.name
        config.add_cleanup(folder.cleanup)
