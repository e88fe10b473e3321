"""One cluster, one MLflow server and one checkout for all tests of this folder."""

from __future__ import annotations

import secrets
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipelines.runtime.identity import REPOSITORY
from tests.cluster.local_cluster import LocalCluster
from tests.faults.mlflow_server import Server
from tests.pipelines.small_project import Project, copy_project

STEPS, EVERY = 2000, 500
PASSWORD = "wonder-wall"


@dataclass(frozen=True)
class Remote:
    """What a user of a cluster has: the cluster, a server for runs, a store for outputs."""

    cluster: LocalCluster
    server: Server
    store: Path


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A repository of git and DVC with a training of some seconds. Tests work in clones of it."""
    project = copy_project(tmp_path_factory.mktemp("checkout"))
    shutil.copy(REPOSITORY / ".gitignore", project.root)
    plan = project.settings()["pretrain"]["vae-toy"]["plan"]
    plan |= {"steps": STEPS, "checkpoint_every": EVERY, "validate_every": EVERY, "log_every": 50}
    project.set("pretrain.vae-toy.plan", plan)
    project.set("runtime.num_workers", 1)
    project.set("runtime.ray_address", None)
    project.run("git", "init", "-q")
    project.run("git", "config", "user.email", "test@localhost")
    project.run("git", "config", "user.name", "test")
    project.run("dvc", "init", "-q")
    project.run("git", "add", "-A")
    project.run("git", "commit", "-q", "-m", "first")
    return project


@pytest.fixture(scope="package")
def remote(checkout: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Remote]:
    """All three, started. The cluster's environment tells jobs of the server, with a password."""
    folder = tmp_path_factory.mktemp("remote")
    server = Server(folder)
    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp") as short:
        environment = {
            "MLFLOW_TRACKING_URI": f"http://me:{PASSWORD}@127.0.0.1:{server.port}",
            "PYTHONPATH": str(checkout.root),
            "OMP_NUM_THREADS": "1",
        }
        cluster = LocalCluster(Path(short), secrets.token_urlsafe(32), environment)
        try:
            server.start()
            cluster.start()
            yield Remote(cluster, server, folder / "store")
        finally:
            cluster.end()
            server.kill()


@pytest.fixture
def shared(checkout: Project, remote: Remote, tmp_path: Path) -> Project:
    """A checkout of the test's own, where all nodes see it, with the store as its remote."""
    return clone(checkout, tmp_path / "shared", remote.store)


def clone(project: Project, root: Path, store: Path) -> Project:
    project.run("git", "clone", "-q", str(project.root), str(root))
    copied = Project(root)
    copied.run("dvc", "remote", "add", "--quiet", "--local", "--default", "store", str(store))
    return copied
