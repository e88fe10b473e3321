"""Average the figures of the same workflow over training seeds: average.NAME of the settings.

Reads metrics/evaluate/MODEL.json of each model, writes metrics/average/NAME.json: the mean of each
figure, its sample standard deviation (KEY_std_over_seeds), and how many seeds there are.
"""

from __future__ import annotations

import json
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from components.errors import UserError
from pipelines.runtime.cli import run_stage
from pipelines.runtime.outputs import write_json
from pipelines.runtime.settings import Params, entry


def main(name: str, params: Params) -> None:
    """Run the stage for one set of models."""
    settings = entry(params.average, "average", name)
    found = [_read(model) for model in settings.models]
    figures: dict[str, float] = {"seeds": len(found)}
    for key, value in found[0].items():
        if isinstance(value, str):
            continue
        values = [float(each[key]) for each in found]
        figures[key] = fmean(values)
        figures[f"{key}_std_over_seeds"] = stdev(values)
    write_json(Path("metrics/average") / f"{name}.json", figures)


def _read(model: str) -> dict[str, Any]:
    file = Path("metrics/evaluate") / f"{model}.json"
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise UserError(f"no {file}: run the stage evaluate@{model} first") from None


if __name__ == "__main__":
    run_stage(__doc__, main)
