"""Gradient flows side by side: means over training seeds, beside the dissertation's figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from components.plots.flows import FlowRow, flow_panels
from components.plots.grids import png_bytes
from pipelines.comparison.files import Figures, read_array, read_arrays, read_json
from pipelines.comparison.markup import template
from pipelines.comparison.pictures import POINTS, Picture, data_uri
from pipelines.runtime.settings import FlowEvaluate, FlowTable, Params, entry
from pipelines.tables.layout import Line, Sheet, number
from pipelines.tables.page import STYLE
from pipelines.tables.text import aligned

TEMPLATE = Path(__file__).resolve().parent / "flows.html"
Averages = Mapping[str, Figures]
"""Figures of `average`, by the entry's name."""


@dataclass(frozen=True)
class GapFound:
    """What the EBM objective loses to maximum likelihood, nats of the flow's test log-likelihood.

    Attributes:
        key: of the gap.
        says: for the reader.
        ours: mean over seeds of one, less the mean of the other.
        paper: the same difference in the dissertation.
    """

    key: str
    says: str
    ours: float
    paper: float

    @property
    def holds(self) -> bool:
        """Whether ours is no larger."""
        return self.ours <= self.paper


def read_averages(table: FlowTable) -> dict[str, Figures]:
    """Read what the table's rows are made of.

    Raises:
        UserError: a file is missing or broken.
    """
    return {
        row.average: read_json(
            Path("metrics/average") / f"{row.average}.json",
            f"{table.workflow}:average@{row.average}",
        )
        for row in table.rows
    }


def gaps(table: FlowTable, averages: Averages) -> list[GapFound]:
    """Hold our gaps against the dissertation's."""
    paper = {row.average: row.paper_log_likelihood for row in table.rows}
    ours = {name: float(figures["log_likelihood"]) for name, figures in averages.items()}
    return [
        GapFound(key, gap.says, *(each[gap.best] - each[gap.learned] for each in (ours, paper)))
        for key, gap in table.gaps.items()
    ]


def likelihoods(table: FlowTable, averages: Averages) -> Sheet:
    """Mean test log-likelihoods, nats, ± their deviation over seeds."""

    def own(figures: Figures) -> str:
        """A box holds what an energy that is not integrable has not: marked as a bound."""
        bound = "" if figures["ebm_integrable"] == 1.0 else "< "
        return bound + _with_deviation(figures, "ebm_log_likelihood", 2)

    columns: dict[str, Callable[[Figures], str]] = {
        "Flow": lambda figures: _with_deviation(figures, "log_likelihood", 3),
        "EBM's own density": own,
        "Z finite, share of seeds": lambda figures: number(figures["ebm_integrable"], 2),
        "Truth": lambda figures: number(figures["log_likelihood_true"], 3),
    }
    lines = []
    for row in table.rows:
        cells = [show(averages[row.average]) for show in columns.values()]
        cells.append(number(row.paper_log_likelihood, 2))
        lines.append(_line(row.label, row.average, cells))
    return Sheet((*columns, "Flow, dissertation"), tuple(lines))


def distances(table: FlowTable, averages: Averages) -> Sheet:
    """How far points are from test points, the floor being true points."""
    measures = {"Sliced Wasserstein": "sliced_wasserstein", "Energy distance": "energy_distance"}
    sources = {"flow": "", "EBM's own density": "ebm_", "floor": "floor_"}
    columns = [
        (f"{title}, {source}", f"{prefix}{key}")
        for title, key in measures.items()
        for source, prefix in sources.items()
    ]
    lines = [
        _line(
            row.label,
            row.average,
            [_with_deviation(averages[row.average], key, 4) for _, key in columns],
        )
        for row in table.rows
    ]
    return Sheet(tuple(title for title, _ in columns), tuple(lines))


def numbers(averages: Averages, found: Sequence[GapFound]) -> dict[str, float | bool]:
    """The page as numbers: ``NAME_log_likelihood``, ``NAME_ebm_log_likelihood``, ``GAP_gap``, and
    ``GAP`` (whether it is within the dissertation's).
    """
    flat: dict[str, float | bool] = {}
    for name, figures in averages.items():
        for key in ("log_likelihood", "ebm_log_likelihood", "sliced_wasserstein"):
            flat[f"{name}_{key}"] = figures[key]
    for gap in found:
        flat |= {f"{gap.key}_gap": gap.ours, gap.key: gap.holds}
    return flat


def render(
    table: FlowTable, params: Params, averages: Averages, found: Sequence[GapFound]
) -> tuple[str, str]:
    """Lay the table out.

    Returns:
        The page as HTML and as plain text; the same inputs give the same text.

    Raises:
        UserError: the arrays behind a picture are missing or broken.
    """
    sheets = [
        ("Test log-likelihood, nats", likelihoods(table, averages)),
        ("Distances from test points", distances(table, averages)),
    ]
    rows = {row.label: _shown(row.model, table, params) for row in table.rows}
    captions = {
        True: "log-densities, 8 nats down from the peak of each (Figures 5.3 and 5.4)",
        False: "densities, by their square root (Figure 5.5)",
    }
    html = template(TEMPLATE).render(
        title=table.title,
        # This project's own markup: what a file or a user says in the page is escaped.
        style=Markup(STYLE.read_text(encoding="utf-8")),
        sheets=sheets,
        gaps=[(gap, number(gap.ours, 3), number(gap.paper, 2)) for gap in found],
        seeds=min(int(figures["seeds"]) for figures in averages.values()),
        pictures=[
            Picture(data_uri(png_bytes(flow_panels(rows, logarithmic=logarithmic))), caption)
            for logarithmic, caption in captions.items()
        ],
    )
    lines = [table.title, ""]
    for heading, sheet in sheets:
        lines += [heading, *aligned(sheet), ""]
    lines.append("What the EBM objective loses to maximum likelihood, nats")
    lines += [
        f"  {gap.says}: {number(gap.ours, 3)}, dissertation {number(gap.paper, 2)}" for gap in found
    ]
    return html, "\n".join([*lines, ""])


def _shown(model: str, table: FlowTable, params: Params) -> FlowRow:
    judging, target = (
        entry(params.evaluate, "evaluate", model),
        f"{table.workflow}:evaluate@{model}",
    )
    assert isinstance(judging, FlowEvaluate)
    maps = read_arrays(Path("judged") / model / "log-densities.npz", target)
    drawn = read_array(Path("samples") / model / "draw-0.npy", f"{table.workflow}:sample@{model}")
    return FlowRow(samples=drawn[:POINTS], extent=judging.shown, **maps)


def _line(label: str, name: str, cells: Sequence[str]) -> Line:
    return Line(label, name, tuple(cells), (False,) * len(cells))


def _with_deviation(figures: Figures, key: str, digits: int) -> str:
    return f"{number(figures[key], digits)} ± {number(figures[f'{key}_std_over_seeds'], digits)}"
