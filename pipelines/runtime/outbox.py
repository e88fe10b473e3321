"""What goes to MLflow, one entry after the other; kept in a file while the server is away.

An entry is plain values: the run's id, what kind it is, and what to log. The file is one JSON value
a line, a hash of the server's address first.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import io
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from PIL import Image

from components.files import remove
from pipelines.runtime.secrets import masked

Entry = dict[str, Any]
FOLDER = Path(".ray/mlflow-missed")
RETRY_SECONDS = 15.0
SERVER_ERRORS = 500


class Outbox:
    """Sends the entries of one run, in order, and never raises because the server is away.

    Args:
        client: of the tracking server.
        uri: its address.
        file: keeps what could not be sent; there only while it is needed.
        say: told when the server is gone, when it is back, and where the file is.
    """

    def __init__(
        self, client: MlflowClient, uri: str, file: Path, say: Callable[[str], None]
    ) -> None:
        self.client, self.uri, self.file, self._say = client, uri, file, say
        self._server = masked(f"MLflow at {uri}")
        self._kept: TextIO | None = None
        self._next_try = 0.0
        self._lossy = False

    def send(self, entry: Entry) -> None:
        """Log an entry now, or keep it."""
        if self._kept is not None and not self._caught_up():
            self._keep(entry)
            return
        trouble = _tried(self.client, entry, self._say)
        if trouble is not None:
            self._keep(entry)
            self._say(
                f"{self._server} does not answer ({trouble}): what it misses is kept in "
                f"{self.file} and is logged when it is back"
            )

    def close(self) -> None:
        """Try once more to send what is kept; say so if it stays in the file."""
        self._next_try = 0.0
        if self._kept is not None and not self._caught_up():
            self._say(
                f"{self._server} is still away: what it missed is in {self.file}, which the "
                "next stage that reaches it logs"
            )
            self._kept.close()
            self._kept = None

    def _caught_up(self) -> bool:
        if time.monotonic() < self._next_try:
            return False
        assert self._kept is not None
        if replay(self.client, self.file, self._say):
            self._kept.close()
            self._kept = None
            self._say(f"{self._server} is back and has what it missed")
            return True
        self._next_try = time.monotonic() + RETRY_SECONDS
        return False

    def _keep(self, entry: Entry) -> None:
        try:
            self._append(entry)
        except OSError as error:  # what goes wrong with the log shall not end a training
            if not self._lossy:
                self._say(f"cannot keep what MLflow misses in {self.file}: {_first_line(error)}")
            self._lossy = True

    def _append(self, entry: Entry) -> None:
        if self._kept is None:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            fresh = not self.file.exists()
            self._kept = self.file.open("a", encoding="utf-8")
            fcntl.flock(self._kept, fcntl.LOCK_EX)
            self._next_try = time.monotonic() + RETRY_SECONDS
            if fresh:
                self._write({"server": _mark(self.uri)})
        if entry["kind"] == "artifacts":
            entry = {**entry, "path": str(self._copied(Path(entry["path"])))}
        self._write(entry)

    def _write(self, content: Entry) -> None:
        assert self._kept is not None
        self._kept.write(json.dumps(content) + "\n")
        self._kept.flush()

    def _copied(self, path: Path) -> Path:
        """A copy of an artifact, since the next run of the stage replaces the original."""
        copy = _copies(self.file) / str(time.monotonic_ns()) / path.name
        copy.parent.mkdir(parents=True)
        if path.is_dir():
            shutil.copytree(path, copy)
        else:
            shutil.copy2(path, copy)
        return copy


def deliver_missed(
    client: MlflowClient, uri: str, folder: Path, say: Callable[[str], None]
) -> None:
    """Log what earlier runs could not log to this server, but for runs that are still going on."""
    for file in sorted(folder.glob("*.jsonl")):
        with file.open(encoding="utf-8") as kept:
            try:
                fcntl.flock(kept, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            if json.loads(kept.readline())["server"] == _mark(uri) and replay(client, file, say):
                say(f"MLflow has now what it had missed ({file})")


def replay(client: MlflowClient, file: Path, say: Callable[[str], None]) -> bool:
    """Log all entries of a file, then remove it; False if the server is away.

    MLflow keeps a point of a curve once, however often it is logged: to begin again from the first
    entry is harmless.
    """
    with file.open(encoding="utf-8") as lines:
        next(lines)
        for line in lines:
            if line.endswith("\n") and _tried(client, json.loads(line), say) is not None:
                return False
    remove(file)
    remove(_copies(file))
    return True


def _mark(uri: str) -> str:
    """Tells servers apart without writing down an address, which may hold a password."""
    return hashlib.sha256(uri.encode()).hexdigest()


def _copies(file: Path) -> Path:
    return file.with_suffix(".artifacts")


def _tried(client: MlflowClient, entry: Entry, say: Callable[[str], None]) -> str | None:
    """Log an entry; say why if the server is away. What it refuses is told and dropped."""
    try:
        _log(client, entry)
    except MlflowException as error:
        if error.get_http_status_code() >= SERVER_ERRORS:
            return _first_line(error)
        say(f"MLflow refuses {entry['kind']}: {_first_line(error)}")
    except OSError as error:
        return _first_line(error)
    return None


def _first_line(error: Exception) -> str:
    return masked(str(error).splitlines()[0][:200])


def _log(client: MlflowClient, entry: Entry) -> None:
    run = entry["run"]
    match entry["kind"]:
        case "params":
            client.log_batch(run, params=[Param(*pair) for pair in entry["values"]])
        case "metrics":
            client.log_batch(run, metrics=[Metric(*point) for point in entry["points"]])
        case "tags":
            client.log_batch(run, tags=[RunTag(*pair) for pair in entry["values"]])
        case "picture":
            with Image.open(io.BytesIO(base64.b64decode(entry["png"]))) as image:
                client.log_image(run, np.asarray(image), key=entry["name"], step=entry["step"])
        case "artifacts":
            if Path(entry["path"]).is_dir():
                client.log_artifacts(run, entry["path"], entry["under"])
            else:
                client.log_artifact(run, entry["path"], entry["under"])
        case "running":
            client.update_run(run, status="RUNNING")
        case "end":
            client.set_terminated(run, status=entry["status"])


def picture_entry(run: str, step: int, name: str, image: np.ndarray[Any, Any]) -> Entry:
    """The entry of a uint8 image H×W×3."""
    png = io.BytesIO()
    Image.fromarray(image).save(png, "PNG")
    packed = base64.b64encode(png.getvalue()).decode()
    return {"run": run, "kind": "picture", "step": step, "name": name, "png": packed}
