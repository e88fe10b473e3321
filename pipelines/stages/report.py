"""Set bases beside their compositions on one page: report.NAME of the settings.

Reads what the other stages left about the models of the comparisons. Writes report/index.html (one
file, pictures inside), report/table.txt (the same results for a terminal) and metrics/report.json.
"""

from __future__ import annotations

from pathlib import Path

from components.files import whole_folder
from pipelines.report.inputs import read_pair
from pipelines.report.page import render_page
from pipelines.report.tables import headline, numbers, plain_text
from pipelines.report.workflow import read_workflow
from pipelines.runtime.cli import run_stage
from pipelines.runtime.outputs import write_json, write_text
from pipelines.runtime.settings import Params, entry


def main(name: str, params: Params) -> None:
    """Make the report ``name``."""
    settings = entry(params.report, "report", name)
    pairs = [read_pair(key, each, params) for key, each in settings.comparisons.items()]
    shown = [f"evaluate@{model.name}" for pair in pairs for model in (pair.base, pair.composition)]
    shown.append(f"report@{name}")
    workflow = read_workflow(Path("dvc.yaml"), params.model_dump(mode="json"), shown)
    page = render_page(settings.title, pairs, workflow)
    sections = [(f"{pair.name} ({pair.judging.data})", headline(pair)) for pair in pairs]
    with whole_folder(Path("report")) as folder:
        write_text(folder / "index.html", page)
        write_text(folder / "table.txt", plain_text(settings.title, sections))
    figures: dict[str, float] = {}
    for pair in pairs:
        figures |= numbers(pair)
    write_json(Path("metrics/report.json"), figures)


if __name__ == "__main__":
    run_stage(__doc__, main)
