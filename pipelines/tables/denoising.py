"""Denoising models side by side: quality, coverage and cost, and what they draw (chapter 6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from markupsafe import Markup

from components.datasets.shards import read_split
from components.errors import UserError
from components.plots.curves import curves, side_by_side
from components.plots.densities import scatter_panels
from components.plots.grids import png_bytes
from pipelines.comparison.files import Figures, read_arrays, read_json, read_pictures, read_rows
from pipelines.comparison.markup import template
from pipelines.comparison.pictures import Picture, data_uri
from pipelines.comparison.tables import NOISE
from pipelines.runtime.settings import DenoisingRow, DenoisingTable
from pipelines.tables.layout import Line, Sheet, number
from pipelines.tables.page import STYLE
from pipelines.tables.text import aligned

TEMPLATE = Path(__file__).resolve().parent / "denoising.html"
CAPTIONS = {
    "samples": "samples",
    "path": "from noise (left) to images, one a row",
    "guesses": "a test image, then for t = 1, 2, … that image with noise and draws of x₀ from it "
    "(Figures 6.8 and 6.14)",
}


@dataclass(frozen=True)
class Drawn:
    """A row of a table.

    Attributes:
        row: its settings.
        figures: of its metrics file.
        target: the stage that judges it, as `dvc repro` takes it.
    """

    row: DenoisingRow
    figures: Figures
    target: str

    def value(self, key: str) -> float:
        """A figure.

        Raises:
            UserError: there is none; names the file and what makes it.
        """
        if key not in self.figures:
            raise UserError(f"metrics/{self.row.figures}.json has no {key}: see its table's keys")
        return float(self.figures[key])

    def deviation(self, key: str) -> float | None:
        """Of a figure: over training seeds in an average, over draws of one model elsewhere."""
        over = "_std_over_seeds" if self.row.figures.startswith("average/") else "_std"
        return self.figures.get(f"{key}{over}")


@dataclass(frozen=True)
class Ordered:
    """Whether an order that the dissertation tells is found here.

    Attributes:
        key: of the order.
        says: the order.
        holds: each value is above the one before it.
        within_noise: no step goes down by more than two joint deviations, but some step is no
            larger than that: the order is left open.
        evidence: rows and their values.
    """

    key: str
    says: str
    holds: bool
    within_noise: bool
    evidence: str

    @property
    def verdict(self) -> str:
        """In a word."""
        if self.within_noise:
            return "within noise"
        return "holds" if self.holds else "does not hold"


def read_drawn(table: DenoisingTable) -> list[Drawn]:
    """Read what the rows are made of.

    Raises:
        UserError: a file is missing or broken.
    """
    found = []
    for row in table.rows:
        stage, name = row.figures.split("/")
        figures = read_json(
            Path("metrics") / f"{row.figures}.json", f"{table.workflow}:{stage}@{name}"
        )
        found.append(Drawn(row, figures, f"{table.workflow}:evaluate@{row.name}"))
    return found


def orders(table: DenoisingTable, drawn: Sequence[Drawn]) -> list[Ordered]:
    """Hold each order against the rows' figures."""
    by_name = {each.row.name: each for each in drawn}
    found = []
    for key, order in table.orders.items():
        named = [by_name[name] for name in order.rising]
        values = [each.value(order.key) for each in named]
        spreads = [each.deviation(order.key) or 0.0 for each in named]
        rises = [after - before for before, after in pairwise(values)]
        noise = [NOISE * float(np.hypot(*pair)) for pair in pairwise(spreads)]
        steps = list(zip(rises, noise, strict=True))
        told = (f"{each.row.label} {value:.4g}" for each, value in zip(named, values, strict=True))
        found.append(
            Ordered(
                key=key,
                says=order.says,
                holds=all(rise > 0.0 for rise in rises),
                within_noise=all(rise >= -least for rise, least in steps)
                and any(rise <= least for rise, least in steps),
                evidence=" → ".join(told),
            )
        )
    return found


def sheet(table: DenoisingTable, drawn: Sequence[Drawn]) -> Sheet:
    """All figures, ± their deviation, the best of a column marked."""
    best = []
    for column in table.columns:
        values = [each.value(column.key) for each in drawn]
        best.append({"least": min(values), "most": max(values), None: None}[column.best])
    lines = []
    for each in drawn:
        cells, marks = [], []
        for column, limit in zip(table.columns, best, strict=True):
            value, spread = each.value(column.key), each.deviation(column.key)
            text = number(value, column.digits)
            cells.append(text if spread is None else f"{text} ± {number(spread, column.digits)}")
            marks.append(value == limit)
        lines.append(Line(each.row.label, each.row.name, tuple(cells), tuple(marks)))
    return Sheet(tuple(column.title for column in table.columns), tuple(lines))


def numbers(
    table: DenoisingTable, drawn: Sequence[Drawn], found: Sequence[Ordered]
) -> dict[str, float | bool]:
    """The page as numbers: ``NAME_KEY`` of each row and column, and of each order ``ORDER``
    (whether it holds) and ``ORDER_within_noise``.
    """
    flat: dict[str, float | bool] = {
        f"{each.row.name}_{column.key}": each.value(column.key)
        for each in drawn
        for column in table.columns
    }
    for order in found:
        flat |= {order.key: order.holds, f"{order.key}_within_noise": order.within_noise}
    return flat


def render(
    table: DenoisingTable, drawn: Sequence[Drawn], found: Sequence[Ordered]
) -> tuple[str, str]:
    """Lay the table out.

    Returns:
        The page as HTML and as plain text; the same inputs give the same text.

    Raises:
        UserError: what is behind a picture is missing or broken.
    """
    rows = sheet(table, drawn)
    html = template(TEMPLATE).render(
        title=table.title,
        data=table.data,
        # This project's own markup: what a file or a user says in the page is escaped.
        style=Markup(STYLE.read_text(encoding="utf-8")),
        sheet=rows,
        orders=found,
        training=[_losses(table), _progress(table)],
        seeds=any(row.figures.startswith("average/") for row in table.rows),
        pictures=_images(drawn) if table.extent is None else [_clouds(table, drawn, table.extent)],
    )
    lines = [table.title, "", *aligned(rows), "", "What the dissertation says"]
    lines += [f"  {each.verdict}: {each.says} ({each.evidence})" for each in found]
    return html, "\n".join([*lines, ""])


def _losses(table: DenoisingTable) -> Picture:
    """Figure 6.10."""
    shown = table.losses
    figure = curves(_logged(table, shown.model, shown.columns), shown.columns, shown.title)
    return Picture(data_uri(png_bytes(figure)), f"{shown.title}, against training (Figure 6.10)")


def _progress(table: DenoisingTable) -> Picture:
    """A figure of two models on their way."""
    shown = table.progress
    trainings = {model: _logged(table, model, [shown.column]) for model in shown.models}
    figure = side_by_side(trainings, shown.column, shown.title)
    return Picture(data_uri(png_bytes(figure)), f"{shown.title}, against training")


def _logged(table: DenoisingTable, model: str, columns: Sequence[str]) -> list[dict[str, float]]:
    """What a training told on the way, validations after the rest."""
    folder, target = Path("plots/pretrain") / model, f"{table.workflow}:pretrain@{model}"
    rows = [
        row
        for file in ("training.csv", "validation.csv")
        for row in read_rows(folder / file, target)
    ]
    logged = dict.fromkeys(name for row in rows for name in row)
    if missing := [name for name in columns if name not in logged]:
        raise UserError(f"{folder} has no column {missing[0]}; there are: {', '.join(logged)}")
    return rows


def _clouds(table: DenoisingTable, drawn: Sequence[Drawn], extent: float) -> Picture:
    """Figure 6.9."""
    clouds = {
        each.row.label: read_arrays(Path("judged") / each.row.name / "points.npz", each.target)[
            "samples"
        ]
        for each in drawn
    }
    count = min(len(cloud) for cloud in clouds.values())
    data = read_split(Path("data/shards") / table.data, "test").x[:count].numpy()
    figure = scatter_panels({"data": data} | clouds, extent)
    return Picture(data_uri(png_bytes(figure)), "test points, and points drawn (Figure 6.9)")


def _images(drawn: Sequence[Drawn]) -> list[Picture]:
    pictures = []
    for each in drawn:
        there = read_pictures(Path("plots/evaluate") / each.row.name, each.target)
        if "samples" not in there:
            raise UserError(
                f"the comparison needs plots/evaluate/{each.row.name}/samples.png, which is not "
                f"there: run dvc repro {each.target}"
            )
        pictures += [
            Picture(data_uri(there[stem]), f"{each.row.label}: {caption}", pixels=True)
            for stem, caption in CAPTIONS.items()
            if stem in there
        ]
    return pictures
