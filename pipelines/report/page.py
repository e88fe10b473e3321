"""One self-contained HTML page: pictures and styles inside, no script, no network."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from markupsafe import Markup

from pipelines.comparison.markup import template
from pipelines.comparison.section import Section
from pipelines.report.workflow import Workflow
from pipelines.report.workflow_picture import draw_workflow
from pipelines.runtime.settings import Params, Report
from pipelines.sweeps.commands import run_command

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


def render_page(
    report: Report, sections: Sequence[Section], workflow: Workflow, params: Params
) -> str:
    """Lay the report out.

    Args:
        report: the page's title and the studies that it names.
        sections: the comparisons, in order.
        workflow: the DAG behind them.
        params: all settings; their sweeps of the compared models are named.

    Returns:
        HTML; the same inputs give the same text.
    """
    roles = {section.base: "base" for section in sections}
    roles |= {section.composition: "composition" for section in sections}
    return template(HERE / "page.html").render(
        title=report.title,
        studies=report.studies,
        # All three are this project's own markup: what a file or a user says in them is escaped.
        style=Markup((HERE / "style.css").read_text(encoding="utf-8")),
        workflow=Markup(draw_workflow(workflow, roles)),
        sweeps=[
            (name, sweep, run_command(name, params.source))
            for name, sweep in params.sweeps.items()
            if sweep.model in roles
        ],
        sections=[(section, Markup(section.html)) for section in sections],
        versions=[("Python", platform.python_version()), *((p, version(p)) for p in PACKAGES)],
    )
