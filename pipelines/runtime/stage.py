"""What the stages that train have in common: launch, export, figures, tracking."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from torch import nn

from components.files import whole_folder
from components.models.build import Description, build_model
from components.models.export import export_model, load_model, weights_digest
from components.samplers.langevin import LangevinSettings
from pipelines.runtime.guard import one_at_a_time
from pipelines.runtime.identity import identity
from pipelines.runtime.launch import Job, Trained, forget, run_training
from pipelines.runtime.outputs import write_json, write_text
from pipelines.runtime.settings import Params, Plan
from pipelines.runtime.task import Outcome

STORAGE = Path(".ray")


class TrainedSettings(Protocol):
    """What the settings of all that is trained hold.

    Attributes:
        seed: of the training.
        plan: its length and rhythm.
    """

    seed: int
    plan: Plan

    def model_dump(self, *, mode: str) -> dict[str, Any]:
        """The settings as plain values."""


@dataclass(frozen=True)
class Training:
    """A training stage's entry, resolved.

    Attributes:
        stage: of the DAG.
        name: of the model.
        settings: the entry of params.yaml.
        model: description of the exported model.
        inputs: folders that the training reads, by the name that the builder knows them by.
        target: folder of the exported model.
        tags: data set, family, base and the like, for MLflow.
        extras: adds files to the exported model's folder and returns further figures.
        chain: how a composition is sampled by who loads it from MLflow and says nothing else.
    """

    stage: str
    name: str
    settings: TrainedSettings
    model: Description
    inputs: Mapping[str, Path]
    target: Path
    tags: Mapping[str, str]
    extras: Callable[[Path, nn.Module], Mapping[str, float]] | None = None
    chain: LangevinSettings | None = None


def train_and_export(training: Training, params: Params) -> Outcome:
    """Train a model, export it, write its curves and figures, log all of it to MLflow.

    Outputs: the exported model in ``training.target``, ``metrics/STAGE/NAME.json``,
    ``plots/STAGE/NAME/{training,validation}.csv``, and beside them ``diverged.csv`` with the
    attempts that were rolled back, if there were any.
    """
    # MLflow takes seconds to import; workers import this module too and never log themselves.
    from pipelines.runtime.tracking import IDENTITY_TAG, WEIGHTS_TAG, Tracker
    from pipelines.serving.package import log_model

    root = Path.cwd()
    storage = (root / STORAGE).resolve()
    label = f"{training.stage} {training.name}"
    with one_at_a_time(label, storage / f"{training.stage}-{training.name}.lock"):
        job = job_of(training)
        settings = job.description["settings"]
        row = Tracker(params.runtime, root).row(
            training.name,
            {IDENTITY_TAG: job.identity},
            {"dvc.stage": f"{training.stage}@{training.name}", **training.tags},
        )
        with row.attempt():
            row.settings(settings)
            trained = run_training(job, params.runtime, storage, row)
            figures = _figures(training.model, trained.outcome)
            figures["start_seconds"] = round(trained.start_seconds, 1)
            plots = root / "plots" / training.stage / training.name
            figures |= _write_outputs(training, settings, trained, plots)
            metrics = root / "metrics" / training.stage / f"{training.name}.json"
            write_json(metrics, figures | _story(trained.outcome))
            row.figures(figures)
            log_model(row, training.target, training.chain)
            row.artifacts(plots, "curves")
            row.tags(
                {
                    WEIGHTS_TAG: weights_digest(training.target),
                    "rolled_back": _told(trained.outcome),
                }
            )
        forget(job, storage)
    if not trained.outcome.finished:
        kept = trained.outcome.kept_step
        print(
            f"{label}: did not get over its divergence; the weights of step {kept} are exported",
            file=sys.stderr,
        )
    return trained.outcome


def job_of(training: Training) -> Job:
    """The training as plain values, to be run anywhere that has this machine's folders."""
    settings = training.settings.model_dump(mode="json")
    return Job(
        name=training.name,
        stage=training.stage,
        builder=f"pipelines.stages.{training.stage}:build",
        description={
            "settings": settings,
            "model": training.model,
            **{name: str(path.resolve()) for name, path in training.inputs.items()},
        },
        plan=training.settings.plan,
        seed=training.settings.seed,
        identity=identity(settings, training.inputs.values(), training.stage),
    )


def _write_outputs(
    training: Training, settings: Mapping[str, Any], trained: Trained, plots: Path
) -> dict[str, float]:
    """Write the model and its curves; gives the figures of the training's extras."""
    figures: dict[str, float] = {}
    with whole_folder(training.target) as folder:
        story = {
            "stage": training.stage,
            "name": training.name,
            "settings": settings,
            "kept_step": trained.outcome.kept_step,
        }
        export_model(folder, training.model, trained.weights, story)
        if training.extras is not None:
            figures.update(training.extras(folder, load_model(folder)))
    with whole_folder(plots) as folder:
        _write_curves(folder, trained.outcome)
    return figures


def _story(outcome: Outcome) -> dict[str, Any]:
    """What the metrics file tells of divergences, if there were any."""
    if not outcome.rollbacks:
        return {}
    steps = [{"step": step, "reason": reason} for step, reason in outcome.rollbacks]
    return {"divergences": steps, "finished": outcome.finished}


def _told(outcome: Outcome) -> str:
    return "; ".join(f"step {step}: {reason}" for step, reason in outcome.rollbacks)


def _figures(model: Description, outcome: Outcome) -> dict[str, Any]:
    parameters = sum(p.numel() for p in build_model(model).parameters())
    figures: dict[str, Any] = {
        "steps": outcome.step,
        "kept_step": outcome.kept_step,
        "rollbacks": len(outcome.rollbacks),
        "seconds": round(outcome.seconds, 1),
        "parameters": parameters,
    }
    if outcome.kept_score is not None:
        figures["kept_score"] = outcome.kept_score
    return figures


def _write_curves(folder: Path, outcome: Outcome) -> None:
    """Rows with the columns of the first row are the training's, the others the validation's."""
    history, abandoned = outcome.history, outcome.abandoned
    training_columns = list(history[0]) if history else []
    training = [row for row in history if list(row) == training_columns]
    validation = [row for row in history if list(row) != training_columns]
    write_text(folder / "training.csv", _csv(training))
    write_text(folder / "validation.csv", _csv(validation))
    if abandoned:
        # Where an attempt runs away figures cease to be finite, and rows get shorter.
        columns = (
            ["attempt", *training_columns]
            if history
            else max((list(row) for row in abandoned), key=len)
        )
        diverged = [row for row in abandoned if set(row) <= set(columns)]
        write_text(folder / "diverged.csv", _csv(diverged, columns))


def _csv(rows: Sequence[Mapping[str, float]], columns: Sequence[str] | None = None) -> str:
    """Rows as text; cells of what a row lacks are empty."""
    text = io.StringIO()
    if rows:
        names = list(columns or rows[0])
        writer = csv.DictWriter(text, fieldnames=names, extrasaction="ignore")
        writer.writeheader()
        writer.writerows({key: f"{value:.6g}" for key, value in row.items()} for row in rows)
    return text.getvalue()
