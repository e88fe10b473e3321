"""One MLflow row a model: its settings, its training curves and, after evaluation, its figures.

The stage's process makes the row and logs to it; workers only post events (see `progress`). A row
is found again by its tags, not by a file beside the model, so that the same training always
exports the same bytes.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from components.errors import UserError
from pipelines.runtime.identity import REPOSITORY
from pipelines.runtime.outbox import FOLDER, Entry, Outbox, deliver_missed, picture_entry
from pipelines.runtime.projects import nest_launch
from pipelines.runtime.secrets import masked, tracking_address
from pipelines.runtime.settings import Runtime

MODEL_TAG = "symbiosis.model"
IDENTITY_TAG = "symbiosis.identity"
"""Hash of all that a training depends on (see `identity`)."""
WEIGHTS_TAG = "symbiosis.weights"
"""SHA-256 of the exported weights: how evaluation finds the model's row."""
CHUNK = 1000
PARAM_CHUNK = 100


class Tracker:
    """The project's MLflow experiment. Logs first what earlier stages could not.

    Raises:
        UserError: the tracking server does not answer.
    """

    def __init__(self, runtime: Runtime, root: Path) -> None:
        local = f"sqlite:///{(root / 'mlflow.db').resolve()}"
        given = runtime.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or local
        self.uri = tracking_address(given)
        # A server that is down shall be said within seconds, not after MLflow's two minutes.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        self.missed = root / FOLDER
        try:
            self.client = MlflowClient(tracking_uri=self.uri)
            self.experiment = self._experiment(runtime.experiment, root)
        except (MlflowException, OSError) as error:
            first = str(error).splitlines()[0]
            raise UserError(
                masked(f"MLflow at {self.uri} does not answer ({first})")
                + ": start it or set runtime.tracking_uri to null"
            ) from None
        deliver_missed(self.client, self.uri, self.missed, _say)

    def row(self, model: str, key: Mapping[str, str], tags: Mapping[str, str]) -> Row:
        """The row of a model, made now if it is not there.

        Args:
            model: name of the model.
            key: the tag, one of `IDENTITY_TAG` and `WEIGHTS_TAG`, that tells this row from others
                of the same name, with its value.
            tags: stage, data set, family and the like, set on a new row.
        """
        found = self._find({MODEL_TAG: model, **key})
        if found is not None:
            return self._row(model, found)
        own = {MODEL_TAG: model, "git.commit": _commit(), **key, **tags}
        run = self.client.create_run(
            self.experiment, run_name=model, tags=own, start_time=int(time.time() * 1000)
        )
        return self._row(model, run)

    def _row(self, model: str, run: Run) -> Row:
        nest_launch(run.info.run_id, self.experiment)
        file = self.missed / f"{model}-{run.info.run_id}.jsonl"
        return Row(run.info.run_id, Outbox(self.client, self.uri, file, _say))

    def nest_launch(self, model: str, key: Mapping[str, str]) -> None:
        """Nest the launch by `mlflow run` under a model's row, for a stage that logs nothing."""
        found = self._find({MODEL_TAG: model, **key})
        if found is not None:
            nest_launch(found.info.run_id, self.experiment)

    def _find(self, tags: Mapping[str, str]) -> Run | None:
        query = " and ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
        runs = self.client.search_runs([self.experiment], query, max_results=1)
        return runs[0] if runs else None

    def _experiment(self, name: str, root: Path) -> str:
        known = self.client.get_experiment_by_name(name)
        if known is not None:
            return str(known.experiment_id)
        artifacts = (root / "mlartifacts").resolve().as_uri() if "sqlite" in self.uri else None
        try:
            return str(self.client.create_experiment(name, artifact_location=artifacts))
        except MlflowException:
            # Another stage made it since we looked.
            again = self.client.get_experiment_by_name(name)
            if again is None:
                raise
            return str(again.experiment_id)


class Row:
    """One MLflow run, written through its id. A server that goes away stops nothing (`Outbox`)."""

    def __init__(self, run_id: str, outbox: Outbox) -> None:
        self.run_id, self._outbox = run_id, outbox

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Mark the run as going on during the block, and by how it ended after it."""
        self._send("running")
        status = "FAILED"
        try:
            yield
            status = "FINISHED"
        except (KeyboardInterrupt, SystemExit):
            status = "KILLED"
            raise
        finally:
            self.end(status)

    def settings(self, settings: Mapping[str, Any]) -> None:
        """Log settings as parameters, nested keys joined by dots."""
        params = [(key, str(value)) for key, value in _flat(settings).items()]
        for start in range(0, len(params), PARAM_CHUNK):
            self._send("params", values=params[start : start + PARAM_CHUNK])

    def metrics(self, step: int, values: Mapping[str, float], milliseconds: int) -> None:
        """Log one point of some curves."""
        points = [(key, value, milliseconds, step) for key, value in values.items()]
        self._send("metrics", points=points)

    def figures(self, values: Mapping[str, float]) -> None:
        """Log headline metrics, which have no step."""
        now = int(time.time() * 1000)
        points = [(key, float(value), now, 0) for key, value in values.items()]
        for start in range(0, len(points), CHUNK):
            self._send("metrics", points=points[start : start + CHUNK])

    def picture(self, step: int, name: str, image: np.ndarray[Any, Any]) -> None:
        """Log a uint8 image H×W×3 of a step of training."""
        self._outbox.send(picture_entry(self.run_id, step, name, image))

    def artifacts(self, path: Path, under: str) -> None:
        """Log a file, or all files of a folder."""
        self._send("artifacts", path=str(path), under=under)

    def tags(self, tags: Mapping[str, str]) -> None:
        self._send("tags", values=list(tags.items()))

    def end(self, status: str = "FINISHED") -> None:
        self._send("end", status=status)
        self._outbox.close()

    def _send(self, kind: str, **content: Any) -> None:
        entry: Entry = {"run": self.run_id, "kind": kind, **content}
        self._outbox.send(entry)


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _commit() -> str:
    """The checkout's commit, marked when files differ from it; empty outside git."""
    command = ["git", "-C", str(REPOSITORY), "describe", "--always", "--dirty", "--abbrev=12"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
