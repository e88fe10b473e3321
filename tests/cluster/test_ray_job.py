"""`ray job submit` from a checkout in a shared folder: outputs, runs and logs, stop and go on."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from components.models.export import weights_digest
from pipelines.runtime.tracking import WEIGHTS_TAG
from tests.cluster.conftest import EVERY, PASSWORD, STEPS, Remote, clone
from tests.faults.conftest import weights
from tests.faults.processes import gone, until, whole_checkpoints
from tests.pipelines.small_project import Project

pytestmark = pytest.mark.fault
LONG = 20_000  # steps that are still to come when `ray job stop` has started
GOES_ON = re.compile(r"goes on from the checkpoint of step (\d+)")


def run_of(project: Project, remote: Remote) -> Run:
    """The server's run of the model that is in the project's folder."""
    client = MlflowClient(tracking_uri=remote.server.address)
    experiment = client.get_experiment_by_name("symbiosis")
    assert experiment is not None
    digest = weights_digest(project.root / "models/vae-toy")
    (run,) = client.search_runs([experiment.experiment_id], f"tags.`{WEIGHTS_TAG}` = '{digest}'")
    return run


def in_mlflow(run: Run) -> str:
    """All words of a run."""
    return json.dumps([run.data.params, run.data.tags, run.info.run_name])


def test_whole_path(shared: Project, remote: Remote, tmp_path: Path) -> None:
    line = f"cd {shared.root} && dvc repro sample@vae-toy && dvc push"
    job, done = remote.cluster.submit(line)
    assert done.returncode == 0, done.stdout + done.stderr

    # The outputs, in the shared folder and through the store.
    samples = sorted(
        path for path in (shared.root / "samples/vae-toy").rglob("*") if path.is_file()
    )
    assert (shared.root / "dvc.lock").is_file()
    elsewhere = clone(shared, tmp_path / "elsewhere", remote.store)
    (elsewhere.root / "dvc.lock").write_bytes((shared.root / "dvc.lock").read_bytes())
    elsewhere.run("dvc", "pull", "sample@vae-toy", "pretrain@vae-toy")
    assert weights(elsewhere) == weights(shared)
    assert samples
    for path in samples:
        pulled = elsewhere.root / path.relative_to(shared.root)
        assert pulled.read_bytes() == path.read_bytes()

    # The run, on the server and nowhere else.
    run = run_of(shared, remote)
    assert run.info.status == "FINISHED" and run.data.metrics["elbo"] < 0
    assert not (shared.root / "mlflow.db").exists()
    client = MlflowClient(tracking_uri=remote.server.address)
    (file,) = Path(client.download_artifacts(run.info.run_id, "model", str(tmp_path))).rglob(
        "weights.safetensors"
    )
    assert file.read_bytes() == weights(shared)

    # Its progress is told; what nobody may know is not.
    log = remote.cluster.logs(job)
    assert f"pretrain vae-toy: steps {STEPS}/{STEPS}" in log
    for secret in (remote.cluster.token, PASSWORD):
        assert secret not in log and secret not in in_mlflow(run)
        assert secret not in done.stdout + done.stderr
        assert not in_files(shared.root, secret)


def in_files(folder: Path, secret: str) -> list[Path]:
    """Files below a folder that have the secret in them."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return [path for path in files if secret.encode() in path.read_bytes()]


@pytest.mark.parametrize(
    ("mode", "token", "answer"),
    [
        ("disabled", "", "Missing authentication token"),
        ("token", "that of another cluster", "Invalid authentication token"),
    ],
)
def test_without_the_token_nothing_runs(
    remote: Remote, tmp_path: Path, mode: str, token: str, answer: str
) -> None:
    (tmp_path / "token").write_text(token)
    own = {"RAY_AUTH_MODE": mode, "RAY_AUTH_TOKEN_PATH": str(tmp_path / "token")}
    done = remote.cluster.job("submit", "--", "touch", str(tmp_path / "ran"), **own)
    assert done.returncode != 0 and answer in done.stderr
    assert not (tmp_path / "ran").exists()


@pytest.mark.slow
def test_failing_stage_fails_the_job(shared: Project, remote: Remote) -> None:
    shared.set("pretrain.vae-toy.latent", 0)
    job, done = remote.cluster.submit(f"cd {shared.root} && dvc repro pretrain@vae-toy")
    assert done.returncode != 0
    (line,) = re.findall("^error: .*$", remote.cluster.logs(job), re.MULTILINE)
    assert "pretrain.vae-toy.latent" in line
    assert f"'{job}' failed" in remote.cluster.job("status", job).stdout


@pytest.mark.slow
def test_stopped_job_stops_the_work_and_the_next_goes_on(shared: Project, remote: Remote) -> None:
    shared.set("pretrain.vae-toy.plan.steps", LONG)
    line = f"cd {shared.root} && dvc repro pretrain@vae-toy"
    job, _ = remote.cluster.submit(line, "--no-wait")
    until(lambda: whole_checkpoints(shared), "a checkpoint")
    at_work = remote.cluster.at_work()
    assert len(at_work) >= 4, "dvc, its stage, Ray's controller and worker"
    stopped = remote.cluster.job("stop", job)
    assert stopped.returncode == 0, stopped.stderr
    assert gone(at_work), "something trains on"
    assert f"'{job}' was stopped" in remote.cluster.job("status", job).stdout
    saved = [int(path.name.removeprefix("step-")) for path in whole_checkpoints(shared)]
    assert saved and max(saved) < LONG, "the training was over before it was stopped"

    again, done = remote.cluster.submit(line)
    assert done.returncode == 0, done.stdout + done.stderr
    (step,) = GOES_ON.findall(remote.cluster.logs(again))
    assert int(step) in saved and int(step) % EVERY == 0
    assert run_of(shared, remote).info.status == "FINISHED"
