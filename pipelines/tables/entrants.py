"""What the stages left about each model of a table, read and checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.datasets.shards import Manifest
from components.errors import UserError
from components.metrics.fidelity import frechet_key
from pipelines.comparison.files import (
    Figures,
    read_diverged,
    read_json,
    read_pictures,
    read_rows,
)
from pipelines.runtime.settings import (
    LatentEvaluate,
    Params,
    ShortRunEvaluate,
    Table,
    TableRow,
    entry,
)

PICTURES = ("samples", "reconstructions", "interpolations", "neighbours")


@dataclass(frozen=True)
class Training:
    """What a training took.

    Attributes:
        model: its entry's name.
        stage: ``pretrain`` or ``compose``.
        steps: optimiser updates.
        batch_size: items of an update.
        seconds: validation included.
        epoch_seconds: of as many updates as show every training item once; None where one update
            sees them all.
        kept_step: of the exported weights.
        rollbacks: after divergence.
        settings: its entry of params.yaml, as plain values.
    """

    model: str
    stage: str
    steps: int
    batch_size: int
    seconds: float
    epoch_seconds: float | None
    kept_step: int
    rollbacks: int
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Entrant:
    """A model of a table.

    Attributes:
        row: its row in the settings.
        judging: kind of its entry of `evaluate`.
        figures: of the evaluate stage.
        distance: Fréchet distance of the table's extractor.
        deviation: over draws; 0 of a single one.
        trainings: that of the model, after that of its base where it has one.
        logged: rows of its own training.csv, then of validation.csv.
        diverged: rows of the attempts that its training rolled back.
        pictures: PNG files of the evaluate stage, by stem; all of `PICTURES` are there.
        target: the stage that judges it, as `dvc repro` takes it.
    """

    row: TableRow
    judging: str
    figures: Figures
    distance: float
    deviation: float
    trainings: Sequence[Training]
    logged: Sequence[Mapping[str, float]]
    diverged: Sequence[Mapping[str, float]]
    pictures: Mapping[str, bytes]
    target: str


def read_entrants(name: str, table: Table, params: Params) -> list[Entrant]:
    """Read all models of a table, in the order of its rows.

    Raises:
        UserError: a file is missing or broken; names it and the command that makes it. Or the
            models are not judged alike.
    """
    _judged_alike(name, table, params)
    manifest = Manifest.load(Path("data/shards") / table.data)
    return [_entrant(row, table, params, manifest.count("train")) for row in table.rows]


def _judged_alike(name: str, table: Table, params: Params) -> None:
    first = entry(params.evaluate, "evaluate", table.rows[0].model)
    for row in table.rows:
        judging = entry(params.evaluate, "evaluate", row.model)
        if not isinstance(judging, LatentEvaluate | ShortRunEvaluate):
            raise UserError(
                f"table {name}: evaluate.{row.model}.kind should be latent-images or "
                "short-run-images"
            )
        if judging != first:
            raise UserError(
                f"table {name}: evaluate.{table.rows[0].model} and evaluate.{row.model} differ: "
                "judge all of its models by the same settings"
            )
        if judging.data != table.data or table.extractor not in judging.extractors:
            raise UserError(
                f"table {name}: evaluate.{row.model} judges on {judging.data} by "
                f"{', '.join(judging.extractors)}, the table is of {table.data} by "
                f"{table.extractor}"
            )


def _entrant(row: TableRow, table: Table, params: Params, items: int) -> Entrant:
    model, target = row.model, f"{table.workflow}:evaluate@{row.model}"
    file = Path("metrics/evaluate") / f"{model}.json"
    figures = read_json(file, target)
    key = frechet_key(table.extractor)
    for needed in (key, f"{key}_floor", f"f8_{table.extractor}", f"f1_8_{table.extractor}"):
        if needed not in figures:
            raise UserError(f"{file} has no {needed}: run dvc repro {target}")
    trainings = _trainings(model, table, params, items)
    last = trainings[-1]
    curves, trained = Path("plots") / last.stage / model, f"{table.workflow}:{last.stage}@{model}"
    pictures = read_pictures(Path("plots/evaluate") / model, target)
    if missing := [stem for stem in PICTURES if stem not in pictures]:
        raise UserError(
            f"the comparison needs plots/evaluate/{model}/{missing[0]}.png, which is not there: "
            f"run dvc repro {target}"
        )
    return Entrant(
        row=row,
        judging=entry(params.evaluate, "evaluate", model).kind,
        figures=figures,
        distance=figures[key],
        deviation=figures.get(f"{key}_std", 0.0),
        trainings=trainings,
        logged=[
            row
            for file in ("training.csv", "validation.csv")
            for row in read_rows(curves / file, trained)
        ],
        diverged=read_diverged(curves, trained),
        pictures=pictures,
        target=target,
    )


def _trainings(model: str, table: Table, params: Params, items: int) -> list[Training]:
    if model not in params.compose:
        return [_training("pretrain", model, table, params, items)]
    base = params.compose[model].base
    return [
        _training("pretrain", base, table, params, items),
        _training("compose", model, table, params, items),
    ]


def _training(stage: str, model: str, table: Table, params: Params, items: int) -> Training:
    settings = entry(getattr(params, stage), stage, model)
    target = f"{table.workflow}:{stage}@{model}"
    file = Path("metrics") / stage / f"{model}.json"
    figures, plan = read_json(file, target), settings.plan
    try:
        steps, seconds = int(figures["steps"]), float(figures["seconds"])
        kept, rollbacks = int(figures["kept_step"]), int(figures["rollbacks"])
    except KeyError as missing:
        raise UserError(f"{file} has no {missing}: run dvc repro {target}") from None
    updates = (items - plan.validation_count) / plan.batch_size
    return Training(
        model=model,
        stage=stage,
        steps=steps,
        batch_size=plan.batch_size,
        seconds=seconds,
        # A mixture is fitted at once, by a single step.
        epoch_seconds=seconds / steps * updates if steps > 1 else None,
        kept_step=kept,
        rollbacks=rollbacks,
        settings=settings.model_dump(mode="json"),
    )
