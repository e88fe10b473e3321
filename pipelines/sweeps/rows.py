"""A row in MLflow for a sweep and one below it for each trial, kept up while the sweep runs."""

from __future__ import annotations

import io
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from ray.tune import Callback
from ray.tune.experiment import Trial

from pipelines.runtime.progress import ProgressDisplay
from pipelines.runtime.settings import Runtime
from pipelines.runtime.tracking import IDENTITY_TAG, Row, Tracker
from pipelines.sweeps.names import short_names, shown
from pipelines.sweeps.records import Record, make_record
from pipelines.sweeps.space import STEP
from pipelines.sweeps.trials import NFE, PICTURE

PARENT_TAG = "mlflow.parentRunId"
TRIAL_TAG = "symbiosis.trial"
STATUS_TAG = "symbiosis.status"
ENDS = {"complete": "FINISHED", "stopped": "FINISHED", "diverged": "FAILED", "failed": "FAILED"}


@dataclass(frozen=True)
class Place:
    """Which rows a sweep's are, as plain values.

    Attributes:
        sweep: name of the sweep.
        identity: hash of all that its result depends on.
        key: of the metric.
        runtime: where MLflow is.
        root: the project's folder.
        parent: run id of the sweep's own row.
    """

    sweep: str
    identity: str
    key: str
    runtime: Runtime
    root: Path
    parent: str


class TrialRows:
    """The trials' rows, found again by the trial's id: a sweep that goes on makes none twice."""

    def __init__(self, place: Place, tracker: Tracker) -> None:
        self.place, self.tracker = place, tracker
        self._rows: dict[str, Row] = {}

    def of(self, trial: str, values: Mapping[str, Any]) -> Row:
        """A trial's row, made now if it is not there."""
        if trial not in self._rows:
            names = short_names(list(values))
            own = ", ".join(f"{names[path]} {shown(value)}" for path, value in values.items())
            key = {IDENTITY_TAG: self.place.identity, TRIAL_TAG: trial}
            tags = {PARENT_TAG: self.place.parent, "dvc.stage": f"sweep@{self.place.sweep}"}
            row = self.tracker.row(f"{self.place.sweep}: {own}", key, tags)
            row.settings(values)
            self._rows[trial] = row
        return self._rows[trial]

    def end(self, record: Record) -> None:
        """Write a trial's last word: status, figures, sample grid."""
        row = self.of(record.name, record.values)
        known = {self.place.key: record.metric, NFE: record.nfe, "seconds": record.seconds}
        row.figures({key: value for key, value in known.items() if value is not None})
        row.tags({STATUS_TAG: record.status, "reason": record.reason})
        if record.picture:
            image = Image.open(io.BytesIO(record.picture)).convert("RGB")
            row.picture(record.step or 0, Path(PICTURE).stem, np.asarray(image))
        row.end(ENDS[record.status])

    def settle(self, records: Sequence[Record]) -> None:
        """Write what could not be written on the way.

        That is why trials failed, which Tune has on file only later, and the end of those that
        ended while nobody was there to write it down.
        """
        for record in records:
            row = self.of(record.name, record.values)
            if record.reason or self.tracker.client.get_run(row.run_id).info.status == "RUNNING":
                self.end(record)


class SweepCallback(Callback):
    """Logs each trial to its row and shows how many are done.

    Tune keeps it beside the sweep's state, so that all it holds is plain values; what talks to
    MLflow is made on first use.
    """

    def __init__(self, place: Place, total: int) -> None:
        self.place, self.total = place, total
        self._rows: TrialRows | None = None
        self._display: ProgressDisplay | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_rows": None, "_display": None}

    @property
    def rows(self) -> TrialRows:
        if self._rows is None:
            self._rows = TrialRows(self.place, Tracker(self.place.runtime, self.place.root))
        return self._rows

    def on_trial_start(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        self.rows.of(trial.trial_id, trial.config)

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        if self.place.key in result:
            row = self.rows.of(trial.trial_id, trial.config)
            values = {self.place.key: result[self.place.key]}
            row.metrics(result[STEP], values, int(time.time() * 1000))

    def on_trial_complete(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        picture, result = read_picture(trial.checkpoint), trial.last_result or {}
        key = self.place.key
        record = make_record(trial.trial_id, trial.config, result, key, None, picture)
        self.rows.end(record)
        self._show(trial, trials, f"{record.status}, {key} {record.metric:.4g}")

    def on_trial_error(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        self.rows.of(trial.trial_id, trial.config).end("FAILED")
        self._show(trial, trials, "failed")

    def _show(self, trial: Trial, trials: list[Trial], note: str) -> None:
        if self._display is None:
            self._display = ProgressDisplay(f"sweep {self.place.sweep}", "trials")
        done = sum(each.is_finished() or each is trial for each in trials)
        self._display.show(done, self.total, note)


def read_picture(checkpoint: Any) -> bytes:
    """The PNG of a trial's samples; empty if it reported none."""
    if checkpoint is None:
        return b""
    with checkpoint.as_directory() as folder:
        file = Path(folder) / PICTURE
        return file.read_bytes() if file.is_file() else b""
