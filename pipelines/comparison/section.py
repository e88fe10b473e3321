"""A comparison as a section of a page: rendered, kept in a folder, read again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from components.errors import UserError
from pipelines.comparison import pictures, tables
from pipelines.comparison.inputs import Model, Pair
from pipelines.comparison.markup import template
from pipelines.comparison.measures import signed
from pipelines.comparison.tables import Row
from pipelines.runtime.outputs import write_json, write_text

TEMPLATE = Path(__file__).resolve().parent / "section.html"
HTML, TABLE = "section.html", "table.json"


@dataclass(frozen=True)
class Section:
    """What a page and a terminal show of a comparison.

    Attributes:
        name: of the comparison.
        title: for the reader.
        data: name of the data set.
        base: name of the base.
        composition: name of the composition.
        rows: its table.
        own: the row that stands for the comparison.
        papers: the row whose dissertation's figures are nearest to that; None: there is none.
        html: the section, with its pictures inside.
    """

    name: str
    title: str
    data: str
    base: str
    composition: str
    rows: tuple[Row, ...]
    own: Row
    papers: Row | None
    html: str


def make_section(pair: Pair) -> Section:
    """Lay a comparison out; the same inputs give the same text."""
    own, papers = tables.principal(pair)
    rows = tables.headline(pair)
    scores = {model.figures.get("ood_score") for model in (pair.base, pair.composition)}
    html = template(TEMPLATE).render(
        one_score=len(scores) == 1,
        signed=signed,
        pair=pair,
        kind=pair.composition.settings["compose"]["kind"],
        rows=rows,
        has_fid=any(row.key == "fid" and row.composition != "–" for row in rows),
        judge=pair.judge.get("test_accuracy"),
        samples=pictures.samples(pair),
        chain=pictures.chain(pair),
        densities=pictures.densities(pair),
        distances=pictures.distances(pair),
        detections=tables.detections(pair),
        score_laws=pictures.score_laws(pair),
        training=[pictures.training(model) for model in (pair.base, pair.composition)],
        costs=tables.costs(pair),
        models=[(model, _settings(model)) for model in (pair.base, pair.composition)],
    )
    return Section(
        name=pair.name,
        title=pair.title,
        data=pair.judging.data,
        base=pair.base.name,
        composition=pair.composition.name,
        rows=tuple(rows),
        own=own,
        papers=papers,
        html=html,
    )


def write_section(folder: Path, section: Section) -> None:
    """Keep a section: its markup, and all else as JSON."""
    content = asdict(section)
    write_text(folder / HTML, content.pop("html"))
    write_json(folder / TABLE, content)


def read_section(folder: Path) -> Section:
    """Read what `write_section` kept.

    Raises:
        UserError: a file is missing or broken; names it and the command that makes it.
    """
    remedy = f"run dvc repro compare@{folder.name}"
    try:
        content = json.loads((folder / TABLE).read_text(encoding="utf-8"))
        return _section(content, (folder / HTML).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(
            f"the report needs {error.filename}, which is not there: {remedy}"
        ) from None
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(
            f"{folder / TABLE} cannot be read ({error}): delete it and {remedy}"
        ) from None


def _section(content: Mapping[str, Any], html: str) -> Section:
    read = {
        "rows": tuple(Row(**row) for row in content["rows"]),
        "own": Row(**content["own"]),
        "papers": Row(**content["papers"]) if content["papers"] else None,
    }
    return Section(**{**content, **read, "html": html})


def _settings(model: Model) -> str:
    sections = {section: {model.name: entry} for section, entry in model.settings.items()}
    return yaml.safe_dump(sections, sort_keys=False, allow_unicode=True, width=80)
