"""What became of each trial, and what the sweep as a whole found."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from components.errors import DivergedError, UserError
from pipelines.sweeps.names import short_names
from pipelines.sweeps.space import STEP
from pipelines.sweeps.trials import COMPLETE, NFE, SECONDS

Status = Literal["complete", "stopped", "diverged", "failed"]
REASON_LENGTH = 300


@dataclass(frozen=True)
class Record:
    """A trial that has ended.

    Attributes:
        name: Tune's id.
        values: settings path → value.
        status: to its end; stopped by the scheduler; values not finite; or another error.
        metric: the last value reported; None without one.
        deviation: over draws; None for a single one.
        nfe: network evaluations behind a sample.
        step: of the training; 1 for a sampling.
        seconds: of sampling, or of training and validation.
        reason: why it failed, in a line; empty otherwise.
        picture: PNG of some samples; empty without one.
    """

    name: str
    values: Mapping[str, Any]
    status: Status
    metric: float | None
    deviation: float | None
    nfe: int | None
    step: int | None
    seconds: float | None
    reason: str
    picture: bytes


def make_record(
    name: str,
    values: Mapping[str, Any],
    metrics: Mapping[str, Any],
    key: str,
    error: BaseException | None,
    picture: bytes,
) -> Record:
    """Judge how a trial ended.

    Args:
        name: Tune's id.
        values: settings path → value.
        metrics: the last ones reported.
        key: of the metric.
        error: what ended it, if something did.
        picture: PNG of its last samples.
    """
    return Record(
        name=name,
        values=dict(values),
        status=_status(metrics, error),
        metric=metrics.get(key),
        deviation=metrics.get(f"{key}_std"),
        nfe=metrics.get(NFE),
        step=metrics.get(STEP),
        seconds=metrics.get(SECONDS),
        reason=_reason(error),
        picture=picture,
    )


def best_of(records: Sequence[Record]) -> Record:
    """The complete trial with the lowest metric.

    Raises:
        UserError: no trial is complete; says why the first one is not.
    """
    judged = [record for record in records if record.status == "complete"]
    if not judged:
        why = next((record.reason for record in records if record.reason), "no reason is known")
        raise UserError(f"no trial of the sweep came to its end: {why}")
    return min(judged, key=_metric)


def figures(records: Sequence[Record], key: str) -> dict[str, Any]:
    """The sweep's figures for metrics/sweep/NAME.json.

    Args:
        records: all trials.
        key: of the metric.
    """
    best = best_of(records)
    found: dict[str, Any] = {"best": dict(best.values), key: best.metric}
    if best.deviation is not None:
        found[f"{key}_std"] = best.deviation
    found |= {"nfe": best.nfe, "trial_seconds": _rounded(best.seconds), "trials": len(records)}
    for status in ("complete", "stopped", "diverged", "failed"):
        found[status] = sum(record.status == status for record in records)
    found["seconds_of_all_trials"] = round(sum(record.seconds or 0.0 for record in records), 1)
    return found


def table(records: Sequence[Record], key: str) -> str:
    """All trials as CSV, the best first, those without a result last."""
    names = short_names(list(records[0].values))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    head = ["trial", "status", *names.values(), key, f"{key}_std", NFE, STEP, SECONDS, "reason"]
    writer.writerow(head)
    for record in ranked(records):
        own = [record.values[path] for path in names]
        numbers = [record.metric, record.deviation, record.nfe, record.step]
        shown = ["" if number is None else f"{number:.6g}" for number in numbers]
        rest = [_rounded(record.seconds), record.reason]
        writer.writerow([record.name, record.status, *own, *shown, *rest])
    return text.getvalue()


def ranked(records: Sequence[Record]) -> list[Record]:
    """Complete trials by their metric, then the stopped ones, then those without a result."""
    order = ("complete", "stopped", "diverged", "failed")
    return sorted(records, key=lambda record: (order.index(record.status), _metric(record)))


def _metric(record: Record) -> float:
    return math.inf if record.metric is None else record.metric


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)


def _status(metrics: Mapping[str, Any], error: BaseException | None) -> Status:
    if error is None:
        return "complete" if metrics.get(COMPLETE) else "stopped"
    return "diverged" if isinstance(_cause(error), DivergedError) else "failed"


def _reason(error: BaseException | None) -> str:
    if error is None:
        return ""
    cause = _cause(error)
    line = " ".join(str(cause).split())[-REASON_LENGTH:]
    return line if isinstance(cause, UserError) else f"{type(cause).__name__}: {line}"


def _cause(error: BaseException) -> BaseException:
    """What the trial itself raised: Ray wraps it in errors of its own."""
    here = error
    while isinstance(inner := getattr(here, "cause", None) or here.__cause__, BaseException):
        here = inner
    return here
