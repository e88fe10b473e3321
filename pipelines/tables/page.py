"""The page of a table: self-contained HTML, and its tables as plain text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml
from markupsafe import Markup

from components.datasets.shards import read_split
from components.errors import UserError
from components.plots.curves import side_by_side
from components.plots.grids import enlargement, image_grid, png_bytes
from pipelines.comparison.markup import template
from pipelines.comparison.pictures import COLUMNS, ROWS, Picture, data_uri
from pipelines.report import page as report_page
from pipelines.runtime.settings import Curve, Table
from pipelines.tables import layout
from pipelines.tables.claims import Finding
from pipelines.tables.entrants import Entrant
from pipelines.tables.kinds import KINDS
from pipelines.tables.text import plain_text

TEMPLATE = Path(__file__).resolve().parent / "page.html"
STYLE = report_page.HERE / "style.css"


def render(
    name: str, table: Table, entrants: Sequence[Entrant], found: Sequence[Finding]
) -> tuple[str, str]:
    """Lay a table out.

    Args:
        name: its entry's name.
        table: its settings.
        entrants: its models, in order.
        found: whether the claims hold.

    Returns:
        The page as HTML and as plain text; the same inputs give the same text.

    Raises:
        UserError: a curve that a model has not logged.
    """
    kind = KINDS[entrants[0].judging]
    results, own = layout.results(table, entrants), kind.sheet(entrants)
    costs, reference = layout.costs(entrants), layout.reference(table, entrants)
    counted = entrants[0].figures.get(kind.counted, 0)
    html = template(TEMPLATE).render(
        name=name,
        title=table.title,
        table=table,
        # This project's own markup: what a file or a user says in the page is escaped.
        style=Markup(STYLE.read_text(encoding="utf-8")),
        results=results,
        lead=kind.lead.format(data=table.data),
        key=kind.key,
        own=own,
        note=kind.note.format(count=f"{counted:,}"),
        costs=costs,
        reference=reference,
        findings=found,
        count=entrants[0].figures.get("count", 0),
        draws=entrants[0].figures.get("draws", 0),
        extractor=layout.extractor_title(table),
        fid=table.extractor == "inception-v3-compat",
        curves=[_curve(curve, entrants) for curve in table.curves],
        samples=[_data(table.data), *_pictures(entrants, "samples", "samples")],
        galleries={
            stem: _pictures(entrants, stem, caption)
            for stem, caption in kind.captions.items()
            if all(stem in each.pictures for each in entrants)
        },
        models=[(each, _settings(each)) for each in entrants],
    )
    sheets = [("Results", results), (kind.key.capitalize(), own), ("Cost", costs)]
    return html, plain_text(table.title, sheets, reference, found)


def _curve(curve: Curve, entrants: Sequence[Entrant]) -> Picture:
    shown = [each for each in entrants if each.row.model in curve.models]
    for each in shown:
        logged = dict.fromkeys(key for row in (*each.logged, *each.diverged) for key in row)
        if curve.column not in logged:
            last = each.trainings[-1]
            raise UserError(
                f"plots/{last.stage}/{each.row.model} has no column {curve.column} for the curve "
                f"{curve.title!r}; there are: {', '.join(logged)}"
            )
    trainings = {each.row.label: each.logged for each in shown}
    diverged = {each.row.label: each.diverged for each in shown}
    figure = side_by_side(trainings, curve.column, curve.title, diverged)
    return Picture(data_uri(png_bytes(figure)), f"{curve.title} against training")


def _data(name: str) -> Picture:
    images = read_split(Path("data/shards") / name, "test").x[: COLUMNS * ROWS].numpy()
    grid = image_grid(images, COLUMNS, enlargement(images.shape[-1]))
    return Picture(data_uri(png_bytes(grid)), f"test images of {name}", pixels=True)


def _pictures(entrants: Sequence[Entrant], stem: str, caption: str) -> list[Picture]:
    return [
        Picture(data_uri(each.pictures[stem]), f"{each.row.label}: {caption}", pixels=True)
        for each in entrants
    ]


def _settings(entrant: Entrant) -> str:
    made = {each.stage: {each.model: dict(each.settings)} for each in entrant.trainings}
    return yaml.safe_dump(made, sort_keys=False, allow_unicode=True, width=80)
