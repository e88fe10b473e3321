"""Set all models of a data set side by side: tabulate.NAME of the settings.

Reads what the other stages left about each model. Writes report/tables/NAME (index.html, pictures
inside, and its tables as index.txt) and metrics/tabulate/NAME.json: each model's distance, F8 and
F1/8, and whether what the dissertation says of their order holds.
"""

from __future__ import annotations

from pathlib import Path

from components.files import whole_folder
from pipelines.runtime.cli import run_stage
from pipelines.runtime.outputs import write_json, write_text
from pipelines.runtime.settings import Params, entry
from pipelines.tables.claims import findings
from pipelines.tables.entrants import read_entrants
from pipelines.tables.layout import numbers
from pipelines.tables.page import render


def main(name: str, params: Params) -> None:
    """Run the stage for one table."""
    table = entry(params.tabulate, "tabulate", name)
    entrants = read_entrants(name, table, params)
    found = findings(table.claims, entrants)
    html, text = render(name, table, entrants, found)
    with whole_folder(Path("report/tables") / name) as folder:
        write_text(folder / "index.html", html)
        write_text(folder / "index.txt", text)
    write_json(Path("metrics/tabulate") / f"{name}.json", numbers(table, entrants, found))


if __name__ == "__main__":
    run_stage(__doc__, main)
