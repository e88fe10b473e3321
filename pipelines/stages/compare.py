"""Set a base beside its composition: compare.NAME of the settings.

Reads what the other stages left about both models. Writes report/comparisons/PAGE/NAME (a section
of the page that shows it, pictures inside, and its table) and metrics/compare/NAME.json (ratios,
differences, distances from the truth).
"""

from __future__ import annotations

from pathlib import Path

from components.files import whole_folder
from pipelines.comparison.inputs import read_pair
from pipelines.comparison.section import make_section, write_section
from pipelines.comparison.tables import numbers
from pipelines.runtime.cli import run_stage
from pipelines.runtime.outputs import write_json
from pipelines.runtime.settings import Params, entry


def main(name: str, params: Params) -> None:
    """Run the stage for one comparison."""
    settings = entry(params.compare, "compare", name)
    pair = read_pair(name, settings, params)
    section = make_section(pair)
    with whole_folder(Path("report/comparisons") / settings.page / name) as folder:
        write_section(folder, section)
    write_json(Path("metrics/compare") / f"{name}.json", numbers(pair))


if __name__ == "__main__":
    run_stage(__doc__, main)
