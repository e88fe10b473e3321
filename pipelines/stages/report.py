"""Put the comparisons of a page together: report.NAME of the settings.

Reads report/comparisons/NAME. Writes report/NAME.html (one file: pictures and the picture of the
workflow inside) and report/NAME.txt (the same results for a terminal).
"""

from __future__ import annotations

from pathlib import Path

from components.errors import UserError
from pipelines.comparison.section import read_section
from pipelines.report.page import render_page
from pipelines.report.table import plain_text
from pipelines.report.workflow import read_workflow
from pipelines.runtime.cli import run_stage
from pipelines.runtime.outputs import write_text
from pipelines.runtime.settings import Params, entry

FOLDER = Path("report")


def main(name: str, params: Params) -> None:
    """Make the page ``name``."""
    settings = entry(params.report, "report", name)
    shown = [key for key, each in params.compare.items() if each.page == name]
    if not shown:
        raise UserError(f"no comparison is for the page {name}: set compare.NAME.page to it")
    sections = [read_section(FOLDER / "comparisons" / name / key) for key in shown]
    workflow = read_workflow(Path("dvc.yaml"), params.model_dump(mode="json"), [f"report@{name}"])
    page = render_page(settings, sections, workflow, params)
    write_text(FOLDER / f"{name}.html", page)
    write_text(FOLDER / f"{name}.txt", plain_text(settings.title, sections))


if __name__ == "__main__":
    run_stage(__doc__, main)
