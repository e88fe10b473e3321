"""A node of a two-node Ray cluster lost: go on with what is left, or wait for it, by setting."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from components.models.export import load_model
from tests.faults.conftest import EVERY, STEPS, weights
from tests.faults.processes import Running, checkpoints, start, until
from tests.pipelines.small_project import Project

pytestmark = pytest.mark.fault
GOES_ON = re.compile(r"goes on from the checkpoint of step (\d+)")
# Ray takes ten seconds and more to miss a node; a test need not wait so long.
QUICK = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 500,
    "health_check_failure_threshold": 4,
}


OTHER_ADDRESS = "127.0.0.2"  # else the driver may take the second node for its own


@dataclass
class Nodes:
    """Two nodes of one CPU each; the driver's is the head."""

    cluster: Any
    second: Any

    @property
    def address(self) -> str:
        return str(self.cluster.address)

    def lose(self) -> None:
        """Kill the second node's processes, as a loss of power does."""
        self.cluster.remove_node(self.second, allow_graceful=False)

    def come_back(self) -> None:
        self.second = self.cluster.add_node(num_cpus=1, node_ip_address=OTHER_ADDRESS)


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    from ray.cluster_utils import Cluster

    # Any port for the dashboard: where the usual one is taken, Ray keeps a socket open for ever.
    settings = {"num_cpus": 1, "dashboard_port": None, "_system_config": QUICK}
    cluster = Cluster(initialize_head=True, head_node_args=settings)
    try:
        second = cluster.add_node(num_cpus=1, node_ip_address=OTHER_ADDRESS)
        yield Nodes(cluster, second)
    finally:
        cluster.shutdown()


def training_on_both(project: Project, nodes: Nodes, least: int | None) -> Running:
    project.set("runtime.num_workers", 2)
    project.set("runtime.min_workers", least)
    project.set("runtime.ray_address", nodes.address)
    running = start(project, "python", "-m", "pipelines.stages.pretrain", "vae-toy")
    until(lambda: written_by(project, 2), "a checkpoint of both workers")
    return running


def written_by(project: Project, workers: int) -> list[int]:
    """Steps of the checkpoints that so many workers have written together."""
    files = [f"rank-{rank}-of-{workers}.pt" for rank in range(workers)]
    return [
        int(folder.name.removeprefix("step-"))
        for folder in checkpoints(project)
        if all((folder / file).is_file() for file in files)
    ]


def assert_trained_to_the_end(project: Project, running: Running) -> None:
    assert running.wait() == 0, running.words
    steps = [int(step) for step in GOES_ON.findall(running.words)]
    assert steps and all(step % EVERY == 0 and 0 < step < STEPS for step in steps)
    assert "lost worker" in running.words
    figures = json.loads((project.root / "metrics/pretrain/vae-toy.json").read_text())
    assert figures["steps"] == STEPS and figures["rollbacks"] == 0
    model = load_model(project.root / "models/vae-toy")
    assert all(bool(value.isfinite().all()) for value in model.state_dict().values())


def test_training_goes_on_with_what_is_left(toy: Project, nodes: Nodes) -> None:
    running = training_on_both(toy, nodes, least=1)
    nodes.lose()
    assert_trained_to_the_end(toy, running)
    assert "2 workers trained before, 1 from here on" in running.words


@pytest.mark.slow
def test_training_waits_for_the_node(toy: Project, nodes: Nodes) -> None:
    undisturbed = training_on_both(toy, nodes, least=None)
    assert undisturbed.wait() == 0, undisturbed.words
    bytes_of_two = weights(toy)

    running = training_on_both(toy, nodes, least=None)
    nodes.lose()
    until(lambda: "lost worker" in running.words, "the loss told")
    until(lambda: "waits for" in running.words, "the wait told")
    assert running.process.poll() is None
    nodes.come_back()
    assert_trained_to_the_end(toy, running)
    assert "workers trained before" not in running.words
    assert weights(toy) == bytes_of_two
