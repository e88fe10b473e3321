"""Set denoising models side by side: tabulate_denoising.NAME of the settings.

Reads their figures, of one training or averaged over seeds. Writes report/tables/NAME (index.html,
pictures inside, and its table as index.txt) and metrics/tabulate_denoising/NAME.json: the figures,
and whether what the dissertation says of their order holds.
"""

from __future__ import annotations

from pathlib import Path

from components.files import whole_folder
from pipelines.runtime.cli import run_stage
from pipelines.runtime.outputs import write_json, write_text
from pipelines.runtime.settings import Params, entry
from pipelines.tables.denoising import numbers, orders, read_drawn, render


def main(name: str, params: Params) -> None:
    """Run the stage for one table."""
    table = entry(params.tabulate_denoising, "tabulate_denoising", name)
    drawn = read_drawn(table)
    found = orders(table, drawn)
    html, text = render(table, drawn, found)
    with whole_folder(Path("report/tables") / name) as folder:
        write_text(folder / "index.html", html)
        write_text(folder / "index.txt", text)
    write_json(Path("metrics/tabulate_denoising") / f"{name}.json", numbers(table, drawn, found))


if __name__ == "__main__":
    run_stage(__doc__, main)
