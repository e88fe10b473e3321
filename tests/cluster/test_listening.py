"""Nothing that is started here hears other machines: it listens on loopback addresses alone."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import psutil
import pytest

from pipelines.runtime.identity import REPOSITORY
from tests.cluster.conftest import Remote, clone
from tests.cluster.local_cluster import free_ports
from tests.faults.processes import command, start, until, whole_checkpoints
from tests.pipelines.small_project import Project


def listening(processes: Iterable[psutil.Process]) -> dict[str, str]:
    """Addresses at which processes listen, each with who does."""
    found = {}
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            for each in process.net_connections(kind="inet"):
                if each.status == psutil.CONN_LISTEN:
                    found[f"{each.laddr.ip} {each.laddr.port}"] = command(process)[:200]
    return found


def reachable_from_outside(addresses: dict[str, str]) -> dict[str, str]:
    return {where: who for where, who in addresses.items() if not is_loopback(where.split()[0])}


def is_loopback(ip: str) -> bool:
    address = ipaddress.ip_address(ip)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


@pytest.mark.parametrize(
    ("ip", "loopback"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.0.2.2", False),
        ("::ffff:192.0.2.2", False),
    ],
)
def test_loopback_is_told_from_the_rest(ip: str, loopback: bool) -> None:
    assert is_loopback(ip) == loopback


@pytest.mark.fault
def test_cluster_of_the_documentation(remote: Remote) -> None:
    def all_of_it() -> dict[str, str]:
        return listening(remote.cluster.descendants())

    def ports() -> set[int]:
        return {int(where.split()[1]) for where in all_of_it()}

    until(lambda: ports() >= set(remote.cluster.ports.values()), "all of the cluster's ports")
    assert not reachable_from_outside(all_of_it())


@pytest.mark.pipeline
@pytest.mark.slow
def test_ray_that_a_training_starts(checkout: Project, tmp_path: Path) -> None:
    project = clone(checkout, tmp_path / "project", tmp_path / "store")
    project.set("runtime.ray_address", "local")
    project.run("dvc", "repro", "-q", "shard@25-gaussians")
    running = start(project, "python", "-m", "pipelines.stages.pretrain", "vae-toy")
    try:
        until(lambda: whole_checkpoints(project), "a checkpoint")
        addresses = listening([psutil.Process(running.process.pid), *running.descendants()])
    finally:
        running.signal_group(signal.SIGTERM)
        running.wait()
    assert any("gcs_server" in who for who in addresses.values())
    assert any("RayTrainWorker" in who for who in addresses.values())
    assert not reachable_from_outside(addresses)


@pytest.fixture
def pages(tmp_path: Path) -> Iterator[tuple[psutil.Process, int]]:
    """What `make ui` runs, on a port that is free."""
    (port,) = free_ports(1)
    venv = Path(sys.executable).parent.parent
    told = subprocess.run(
        [
            *("make", "-n", "-o", f"{venv}/.installed", "-f", str(REPOSITORY / "Makefile")),
            *(f"VENV={venv}", "ui"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "--port 5000" in told
    process = subprocess.Popen(
        ["bash", "-c", told.replace("5000", str(port))],
        cwd=tmp_path,
        env=os.environ | {"PATH": f"{venv / 'bin'}{os.pathsep}{os.environ['PATH']}"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    yield psutil.Process(process.pid), port
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.mark.pipeline
def test_pages_of_mlflow(pages: tuple[psutil.Process, int]) -> None:
    shell, port = pages

    def all_of_it() -> dict[str, str]:
        return listening([shell, *shell.children(recursive=True)])

    until(lambda: any(where.endswith(f" {port}") for where in all_of_it()), "MLflow's pages")
    assert not reachable_from_outside(all_of_it())
