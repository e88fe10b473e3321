"""A password in an address is used, and shown nowhere."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import yaml

from components.errors import UserError
from pipelines.runtime.secrets import masked, tracking_address
from pipelines.runtime.settings import Runtime, load_params
from pipelines.runtime.tracking import Tracker
from tests.pipelines.small_project import small_settings

PASSWORD = "s3cr3t@of/mine"  # quoted in an address: s3cr3t%40of%2Fmine
QUOTED = "s3cr3t%40of%2Fmine"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set first, so that what the code sets is taken back after the test."""
    for name in ("URI", "USERNAME", "PASSWORD"):
        monkeypatch.setenv(f"MLFLOW_TRACKING_{name}", "")
        monkeypatch.delenv(f"MLFLOW_TRACKING_{name}")


@pytest.fixture
def refusing_server() -> Iterator[tuple[str, list[str]]]:
    """Host of a server that notes who asks, and lets nobody in."""
    heard: list[str] = []

    class Refuse(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            heard.append(self.headers.get("Authorization", ""))
            self.send_error(401)

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Refuse) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.server_port}", heard
        server.shutdown()
        thread.join()


def runtime() -> Runtime:
    return Runtime.model_validate(small_settings()["runtime"])


def test_a_password_is_sent_and_not_said(
    refusing_server: tuple[str, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host, heard = refusing_server
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:{QUOTED}@{host}/mlflow")
    with pytest.raises(UserError) as error:
        Tracker(runtime(), tmp_path)
    said = str(error.value)
    assert f"http://{host}/mlflow" in said and "401" in said
    assert "s3cr3t" not in said and "me:" not in said
    expected = base64.b64encode(f"me:{PASSWORD}".encode()).decode()
    assert heard and set(heard) == {f"Basic {expected}"}


def test_a_database_that_cannot_be_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"nosuchdatabase://me:{QUOTED}@localhost/runs")
    with pytest.raises(UserError) as error:
        Tracker(runtime(), tmp_path)
    assert "nosuchdatabase://***@localhost/runs" in str(error.value)
    assert "s3cr3t" not in str(error.value)


def test_settings_hold_no_password(tmp_path: Path) -> None:
    content = small_settings()
    content["runtime"]["tracking_uri"] = f"https://me:{QUOTED}@server:5000"
    file = tmp_path / "params.yaml"
    file.write_text(yaml.safe_dump(content))
    with pytest.raises(UserError) as error:
        load_params(file)
    said = str(error.value)
    assert said.startswith("params.yaml: runtime.tracking_uri: 'https://***@server:5000'")
    assert "MLFLOW_TRACKING_PASSWORD" in said and "s3cr3t" not in said


@pytest.mark.parametrize(
    "address", ["http://server:5000/mlflow", "sqlite:////home/me@work/mlflow.db", "databricks"]
)
def test_addresses_without_passwords_stay(address: str) -> None:
    assert tracking_address(address) == masked(address) == address
