"""Set gradient flows side by side: tabulate_flows.NAME of the settings.

Reads their figures averaged over training seeds. Writes report/tables/NAME (index.html, pictures
inside, and its tables as index.txt) and metrics/tabulate_flows/NAME.json: log-likelihoods, and
whether the gap between the two objectives is within the dissertation's.
"""

from __future__ import annotations

from pathlib import Path

from components.files import whole_folder
from pipelines.runtime.cli import run_stage
from pipelines.runtime.outputs import write_json, write_text
from pipelines.runtime.settings import Params, entry
from pipelines.tables.flows import gaps, numbers, read_averages, render


def main(name: str, params: Params) -> None:
    """Run the stage for one table."""
    table = entry(params.tabulate_flows, "tabulate_flows", name)
    averages = read_averages(table)
    found = gaps(table, averages)
    html, text = render(table, params, averages, found)
    with whole_folder(Path("report/tables") / name) as folder:
        write_text(folder / "index.html", html)
        write_text(folder / "index.txt", text)
    write_json(Path("metrics/tabulate_flows") / f"{name}.json", numbers(averages, found))


if __name__ == "__main__":
    run_stage(__doc__, main)
