"""One self-contained HTML page: pictures and styles inside, no script, no network."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from pipelines.report import pictures, tables
from pipelines.report.inputs import Model, Pair
from pipelines.report.workflow import Workflow
from pipelines.report.workflow_picture import draw_workflow

HERE = Path(__file__).resolve().parent
PACKAGES = (
    "torch",
    "ray",
    "mlflow",
    "dvc",
    "webdataset",
    "torch-fidelity",
    "timm",
    "scikit-learn",
    "numpy",
    "matplotlib",
)
EXPLANATIONS = {
    "vaebm": "Exponential tilting: p(x) ∝ p_base(x) exp(−f(x)), where the base is a VAE and f an "
    "energy network (chapter 4 of the dissertation). A sample is the end of a short Langevin chain "
    "that starts at a sample of the base.",
}
"""What a kind of composition is, in one sentence."""


def render_page(title: str, pairs: Sequence[Pair], workflow: Workflow) -> str:
    """Lay the report out.

    Args:
        title: of the page.
        pairs: the comparisons, in order.
        workflow: the DAG behind them.

    Returns:
        HTML; the same inputs give the same text.
    """
    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    roles = {pair.base.name: "base" for pair in pairs}
    roles |= {pair.composition.name: "composition" for pair in pairs}
    return environment.get_template("page.html").render(
        title=title,
        # Both are this project's own markup: no text of a file or a user goes in unescaped.
        style=Markup((HERE / "style.css").read_text(encoding="utf-8")),
        workflow=Markup(draw_workflow(workflow, roles)),
        sections=[_section(pair) for pair in pairs],
        versions=[("Python", platform.python_version()), *((p, version(p)) for p in PACKAGES)],
    )


def _section(pair: Pair) -> Mapping[str, Any]:
    own, papers = tables.principal(pair)
    rows = tables.headline(pair)
    return {
        "pair": pair,
        "explanation": EXPLANATIONS.get(pair.composition.settings["compose"]["kind"], ""),
        "own": own,
        "papers": papers,
        "rows": rows,
        "has_fid": any(row.key == "fid" and row.composition != "–" for row in rows),
        "judge": pair.judge.get("test_accuracy"),
        "samples": pictures.samples(pair),
        "chain": pictures.chain(pair),
        "densities": pictures.densities(pair),
        "distances": pictures.distances(pair),
        "detections": tables.detections(pair),
        "score_laws": pictures.score_laws(pair),
        "training": [pictures.training(model) for model in (pair.base, pair.composition)],
        "costs": tables.costs(pair),
        "models": [(model, _settings(model)) for model in (pair.base, pair.composition)],
    }


def _settings(model: Model) -> str:
    sections = {section: {model.name: entry} for section, entry in model.settings.items()}
    return yaml.safe_dump(sections, sort_keys=False, allow_unicode=True, width=80)
