"""Tracking in a real MLflow database: a row a model, found again by what it is."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from mlflow.entities import Run

from components.errors import UserError
from pipelines.runtime.identity import REPOSITORY
from pipelines.runtime.settings import Runtime, load_params
from pipelines.runtime.tracking import IDENTITY_TAG, MODEL_TAG, WEIGHTS_TAG, Row, Tracker


def runtime(uri: str | None = None) -> Runtime:
    ours = load_params(REPOSITORY / "params.yaml").runtime
    return ours.model_copy(update={"tracking_uri": uri})


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tracking")


@pytest.fixture
def tracker(root: Path, monkeypatch: pytest.MonkeyPatch) -> Tracker:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return Tracker(runtime(), root)


def read(tracker: Tracker, row: Row) -> Run:
    return tracker.client.get_run(row.run_id)


def test_everything_stays_in_the_folder(tracker: Tracker, root: Path) -> None:
    assert (root / "mlflow.db").is_file()
    row = tracker.row("vae-kept", {IDENTITY_TAG: "1"}, {})
    (root / "file.txt").write_text("text")
    row.artifacts(root / "file.txt", "notes")
    folder = root / "folder"
    folder.mkdir()
    (folder / "curve.csv").write_text("step\n")
    row.artifacts(folder, "curves")
    row.picture(3, "samples", np.zeros((4, 4, 3), np.uint8))
    stored = root / "mlartifacts" / row.run_id / "artifacts"
    assert (stored / "notes/file.txt").read_text() == "text"
    assert (stored / "curves/curve.csv").is_file()
    assert list((stored / "images").glob("samples*step*3*.png"))


def test_one_row_a_model(tracker: Tracker, root: Path) -> None:
    tags = {"dataset": "digits", "family": "base"}
    row = tracker.row("vae", {IDENTITY_TAG: "a1"}, tags)
    again = Tracker(runtime(), root).row("vae", {IDENTITY_TAG: "a1"}, {"dataset": "other"})
    assert again.run_id == row.run_id
    assert read(tracker, again).data.tags["dataset"] == "digits"
    other_settings = tracker.row("vae", {IDENTITY_TAG: "b2"}, tags)
    other_model = tracker.row("glow", {IDENTITY_TAG: "a1"}, tags)
    assert len({row.run_id, other_settings.run_id, other_model.run_id}) == 3
    # Evaluation knows the weights, not how they were made.
    row.tags({WEIGHTS_TAG: "c3"})
    assert tracker.row("vae", {WEIGHTS_TAG: "c3"}, {}).run_id == row.run_id
    run = read(tracker, row)
    assert run.info.run_name == "vae"
    assert run.data.tags[MODEL_TAG] == "vae" and run.data.tags["family"] == "base"


def test_settings_are_flat(tracker: Tracker) -> None:
    row = tracker.row("vae-flat", {IDENTITY_TAG: "1"}, {})
    many = {f"key{number}": number for number in range(230)}  # MLflow takes 100 at once
    settings = {"latent": 2, "network": {"kind": "mlp", "hidden": [8, 8]}, "ema": None, "x": many}
    row.settings(settings)
    params = read(tracker, row).data.params
    assert params["latent"] == "2" and params["ema"] == "None"
    assert params["network.kind"] == "mlp" and params["network.hidden"] == "[8, 8]"
    assert params["x.key229"] == "229" and len(params) == 4 + 230
    row.settings(settings)  # a resumed training says the same again


def test_what_mlflow_refuses_is_told_and_dropped(
    tracker: Tracker, root: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    row = tracker.row("vae-refused", {IDENTITY_TAG: "1"}, {})
    row.settings({"latent": 2})
    row.settings({"latent": 3})  # a parameter of MLflow's is never changed
    assert "MLflow refuses params" in capfd.readouterr().err
    row.tags({"later": "logged"})
    run = read(tracker, row)
    assert run.data.params["latent"] == "2" and run.data.tags["later"] == "logged"
    assert not list((root / ".ray").rglob("*.jsonl"))


def test_curves_have_steps_and_figures_have_none(tracker: Tracker) -> None:
    row = tracker.row("vae-curves", {IDENTITY_TAG: "1"}, {})
    for step in (10, 20, 30):
        row.metrics(step, {"elbo": -1.0 * step, "kl": 0.5}, 1000 * step)
    row.figures({"auroc_uniform-noise": 0.75, "modes": 25})
    history = tracker.client.get_metric_history(row.run_id, "elbo")
    assert [(point.step, point.value, point.timestamp) for point in history] == [
        (10, -10.0, 10_000),
        (20, -20.0, 20_000),
        (30, -30.0, 30_000),
    ]
    metrics = read(tracker, row).data.metrics
    assert metrics["elbo"] == -30.0
    assert metrics["auroc_uniform-noise"] == 0.75 and metrics["modes"] == 25.0
    assert read(tracker, row).info.status == "RUNNING"
    row.end()
    assert read(tracker, row).info.status == "FINISHED"


def test_the_setting_comes_before_the_environment(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{root}/mlflow.db")
    assert Tracker(runtime(), tmp_path).uri.endswith(f"{root}/mlflow.db")
    assert not (tmp_path / "mlflow.db").exists()


@pytest.fixture
def silent_server() -> Iterator[int]:
    """A port that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        held: list[socket.socket] = []

        def accept() -> None:
            while True:
                try:
                    held.append(server.accept()[0])
                except OSError:
                    return

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
        for connection in held:
            connection.close()


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}"  # free again after the block
    began = time.monotonic()
    with pytest.raises(UserError) as error:
        Tracker(runtime(address), tmp_path)
    # MLflow alone goes on for minutes; the bound is no measure of speed.
    assert time.monotonic() - began < 60
    assert "\n" not in str(error.value)
    assert address in str(error.value) and "runtime.tracking_uri" in str(error.value)


def test_a_server_that_is_silent(
    silent_server: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    address = f"http://127.0.0.1:{silent_server}"
    with pytest.raises(UserError, match=address):
        Tracker(runtime(address), tmp_path)


def test_an_address_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for address in ("ftp://nowhere", f"sqlite:///{tmp_path}/file/mlflow.db"):
        with pytest.raises(UserError) as error:
            Tracker(runtime(address), tmp_path)
        assert address in str(error.value)
