"""What a sweep leaves for the reader: tables, pictures, and a page of its own beside the report."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from markupsafe import Markup
from matplotlib.figure import Figure

from components.plots.grids import png_bytes
from components.plots.sweeps import metric_over_settings, quality_cost
from pipelines.comparison.markup import template
from pipelines.comparison.measures import measure_of
from pipelines.comparison.pictures import Picture, data_uri
from pipelines.report import page as report_page
from pipelines.runtime.outputs import write_text
from pipelines.runtime.settings import Params, Space, Sweep
from pipelines.runtime.settings.paths import value_at
from pipelines.sweeps.commands import apply_command, run_command
from pipelines.sweeps.names import short_names, shown
from pipelines.sweeps.records import Record, best_of, ranked, table

TEMPLATE = Path(__file__).resolve().parent / "page.html"
STYLE = report_page.HERE / "style.css"
MOST_GRIDS = 12


def write_results(
    folder: Path, name: str, params: Params, key: str, records: Sequence[Record]
) -> None:
    """Write trials.csv, metric.png, cost.png and index.html (which has all of them inside).

    Args:
        folder: that is there.
        name: of the sweep.
        params: the whole settings.
        key: of the metric.
        records: all trials.

    Raises:
        UserError: no trial is complete.
    """
    figures = draw(records, measure_title(key))
    for stem, figure in figures.items():
        (folder / f"{stem}.png").write_bytes(png_bytes(figure))
    text = table(records, key)
    write_text(folder / "trials.csv", text)
    write_text(folder / "index.html", _page(folder, name, params, key, records, text))


def draw(records: Sequence[Record], measure: str) -> dict[str, Figure]:
    """The two pictures of a sweep, by stem of their file.

    Args:
        records: all trials; those that were stopped early are shown at their last metric.
        measure: what the metric is.
    """
    names = short_names(list(records[0].values))
    settings = {short: [each.values[path] for each in records] for path, short in names.items()}
    metric = [_number(record.metric) for record in records]
    best = list(records).index(best_of(records))
    nfe = [_number(record.nfe) for record in records]
    deviation = [_number(record.deviation) for record in records]
    return {
        "metric": metric_over_settings(settings, metric, measure, best),
        "cost": quality_cost(
            nfe,
            metric,
            deviation,
            _groups(settings, nfe),
            measure,
            "network evaluations of a sample (NFE)",
        ),
    }


def measure_title(key: str) -> str:
    """What the metric is, for the reader.

    >>> measure_title("validation_energy_distance")
    'energy distance, held-out items'
    """
    return f"{measure_of(key.removeprefix('validation_')).title}, held-out items"


def _groups(settings: Mapping[str, Sequence[Any]], nfe: Sequence[float]) -> list[str]:
    """What each trial has beside its cost: its settings but those that are the cost itself."""
    others = {name: values for name, values in settings.items() if list(values) != list(nfe)}
    return [
        ", ".join(f"{name} {shown(values[number])}" for name, values in others.items())
        for number in range(len(nfe))
    ]


def _page(
    folder: Path, name: str, params: Params, key: str, records: Sequence[Record], text: str
) -> str:
    sweep = params.sweeps[name]
    measure = measure_title(key)
    pictures = {
        "metric": f"{measure}, over the settings; × marks trials without a result",
        "cost": f"{measure}, over the NFE of a sample",
    }
    return template(TEMPLATE).render(
        title=name,
        source=params.source.name,
        run=run_command(name, params.source),
        apply=apply_command(name, params.source),
        # The project's own style sheet: no text of a file or a user goes in unescaped.
        style=Markup(STYLE.read_text(encoding="utf-8")),
        what=_what(sweep),
        measure=measure,
        settings=_settings(sweep, params, best_of(records)),
        verdict=_verdict(records),
        pictures=[
            Picture(data_uri((folder / f"{stem}.png").read_bytes()), caption)
            for stem, caption in pictures.items()
        ],
        grids=[
            Picture(data_uri(record.picture), _caption(record), pixels=True)
            for record in ranked(records)[:MOST_GRIDS]
            if record.picture
        ],
        trials=list(csv.reader(text.splitlines())),
        note=_note(sweep),
        entry=yaml.safe_dump(
            {"sweeps": {name: sweep.model_dump(mode="json")}}, sort_keys=False, allow_unicode=True
        ),
    )


def _what(sweep: Sweep) -> str:
    if sweep.trial.kind == "sampling":
        return f"{sweep.model}, trained once and sampled by other settings in each trial."
    return f"{sweep.model}, trained anew by other settings in each trial."


def _note(sweep: Sweep) -> str:
    if sweep.trial.kind == "sampling":
        return (
            f"Each trial: {sweep.trial.draws} draws of {sweep.judge.count:,} samples, judged on "
            "the items that the training left out; no test item was looked at. Seconds are those "
            "of sampling, with other trials running beside."
        )
    return (
        f"The metric is that of the kept checkpoint ({sweep.judge.count:,} samples by the trial's "
        "own training chain); of a trial that the scheduler stopped, the last one."
    )


def _settings(sweep: Sweep, params: Params, best: Record) -> list[dict[str, str]]:
    content = params.model_dump(mode="json")
    return [
        {
            "path": path,
            "best": shown(best.values[path]),
            "now": shown(value_at(content, path)),
            "tried": _tried(space),
        }
        for path, space in sweep.space.items()
    ]


def _tried(space: Space) -> str:
    if space.kind == "choice":
        return ", ".join(shown(value) for value in space.values)
    return f"{shown(space.low)} to {shown(space.high)} ({space.kind})"


def _verdict(records: Sequence[Record]) -> str:
    best = best_of(records)
    spread = "" if best.deviation is None else f" ± {best.deviation:.4g}"
    counts = [
        f"{count} {status}"
        for status in ("complete", "stopped", "diverged", "failed")
        if (count := sum(record.status == status for record in records))
    ]
    return (
        f"Metric {best.metric:.4g}{spread} at {best.nfe} NFE. Trials: {len(records)} "
        f"({', '.join(counts)})."
    )


def _caption(record: Record) -> str:
    names = short_names(list(record.values))
    own = ", ".join(f"{names[path]} {shown(value)}" for path, value in record.values.items())
    return own if record.metric is None else f"{own}: {record.metric:.4g}"


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
