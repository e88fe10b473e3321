"""An MLflow server that is not there, or goes away while a model is trained."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from components.models.export import weights_digest
from pipelines.runtime.tracking import MODEL_TAG, WEIGHTS_TAG
from tests.faults.conftest import STEPS, weights
from tests.faults.mlflow_server import Server
from tests.faults.processes import start, until, whole_checkpoints
from tests.pipelines.small_project import Project

pytestmark = pytest.mark.fault
STAGE = ("python", "-m", "pipelines.stages.pretrain", "vae-toy")
POINTS = list(range(50, STEPS + 1, 50))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    folder = tmp_path / "server"
    folder.mkdir()
    server = Server(folder)
    yield server
    server.kill()


def assert_all_is_there(server: Server, project: Project, tmp_path: Path) -> Run:
    """Every point of the curves, once; the figures, the model, the tags."""
    client = MlflowClient(tracking_uri=server.address)
    experiment = client.get_experiment_by_name("symbiosis")
    assert experiment is not None
    digest = weights_digest(project.root / "models/vae-toy")
    query = f"tags.`{MODEL_TAG}` = 'vae-toy' and tags.`{WEIGHTS_TAG}` = '{digest}'"
    (run,) = client.search_runs([experiment.experiment_id], query)
    history = client.get_metric_history(run.info.run_id, "elbo")
    assert [point.step for point in history] == POINTS
    assert run.info.status == "FINISHED" and run.data.metrics["kept_step"] > 0
    kept = Path(client.download_artifacts(run.info.run_id, "model", str(tmp_path)))
    (file,) = kept.rglob("weights.safetensors")
    assert file.read_bytes() == weights(project)
    pictures = [each.path for each in client.list_artifacts(run.info.run_id, "images")]
    assert len([path for path in pictures if path.endswith(".png")]) >= STEPS // 200
    return run


def missed(project: Project) -> list[Path]:
    return sorted((project.root / ".ray/mlflow-missed").glob("*.jsonl"))


def test_not_there_at_the_start(toy: Project, server: Server) -> None:
    toy.set("runtime.tracking_uri", server.address)
    done = toy.run("dvc", "repro", "pretrain@vae-toy", check=False)
    assert done.returncode != 0
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and server.address in lines[0] and "does not answer" in lines[0]
    assert not whole_checkpoints(toy) and not (toy.root / "models").exists(), "it has computed"


@pytest.mark.slow
def test_gone_for_the_rest_of_the_training(
    toy: Project, server: Server, undisturbed: bytes, tmp_path: Path
) -> None:
    server.start()
    toy.set("runtime.tracking_uri", server.address)
    running = start(toy, *STAGE)
    until(lambda: whole_checkpoints(toy), "a checkpoint")
    server.kill()
    assert running.wait() == 0, running.words
    assert weights(toy) == undisturbed
    (file,) = missed(toy)
    assert f"what it missed is in {file}" in running.words
    kinds = [json.loads(line).get("kind") for line in file.read_text().splitlines()]
    assert {"metrics", "picture", "artifacts", "tags", "end"} <= set(kinds)

    server.start()
    before = toy.root / "models/vae-toy"
    before.rename(tmp_path / "trained-first")
    toy.set("pretrain.vae-toy.plan.steps", 10)
    again = toy.stage("pretrain", "vae-toy")
    assert "MLflow has now what it had missed" in again.stderr
    assert not missed(toy) and not list((toy.root / ".ray").rglob("*.safetensors"))
    (tmp_path / "trained-first").rename(tmp_path / "x")
    before.rename(tmp_path / "trained-second")
    (tmp_path / "x").rename(before)
    assert_all_is_there(server, toy, tmp_path)


def test_back_before_the_end(
    toy: Project, server: Server, undisturbed: bytes, tmp_path: Path
) -> None:
    server.start()
    toy.set("runtime.tracking_uri", server.address)
    running = start(toy, *STAGE)
    until(lambda: whole_checkpoints(toy), "a checkpoint")
    server.kill()
    until(lambda: missed(toy), "the file of what is missed")
    stage = psutil.Process(running.process.pid)
    stage.suspend()  # that the training may not end while the server starts
    server.start()
    stage.resume()
    assert running.wait() == 0, running.words
    assert "does not answer" in running.words
    assert "is back and has what it missed" in running.words
    assert not missed(toy)
    assert weights(toy) == undisturbed
    assert_all_is_there(server, toy, tmp_path)
