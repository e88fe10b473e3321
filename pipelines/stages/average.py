"""Average the figures of the same workflow over its training seeds: average.NAME of the settings.

Reads metrics/evaluate/MODEL.json of each model. Writes metrics/average/NAME.json: the mean of each
figure that all of them have, its standard deviation over seeds (KEY_std_over_seeds), the gap of the
log-likelihood to the true one, and how many seeds there are.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev

from components.errors import UserError
from pipelines.runtime.cli import run_stage
from pipelines.runtime.outputs import write_json
from pipelines.runtime.settings import Params, entry

OF_ONE_RUN = ("_std", "_std_error", "_error")
"""Endings of keys that tell the noise within one run, which says nothing of other seeds."""


def main(name: str, params: Params) -> None:
    """Run the stage for one set of models."""
    settings = entry(params.average, "average", name)
    figures = averaged([_read(model) for model in settings.models])
    write_json(Path("metrics/average") / f"{name}.json", figures)


def averaged(found: Sequence[dict[str, float]]) -> dict[str, float]:
    """Mean and standard deviation over runs of all figures that they share.

    >>> averaged([{"modes": 24.0, "modes_std": 1.0}, {"modes": 25.0}])
    {'seeds': 2, 'modes': 24.5, 'modes_std_over_seeds': 0.7071067811865476}
    """
    figures: dict[str, float] = {"seeds": len(found)}
    for key in found[0]:
        if all(key in each for each in found) and not key.endswith(OF_ONE_RUN):
            values = [float(each[key]) for each in found]
            figures |= {key: fmean(values), f"{key}_std_over_seeds": stdev(values)}
    return figures


def _read(model: str) -> dict[str, float]:
    """The numbers among a model's figures, and the gap where the truth is known."""
    file, remedy = Path("metrics/evaluate") / f"{model}.json", f"run dvc repro evaluate@{model}"
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"no {file}: {remedy}") from None
    except ValueError as error:
        raise UserError(f"{file} cannot be read ({error}): {remedy}") from None
    figures = {key: value for key, value in content.items() if isinstance(value, int | float)}
    if "log_likelihood_true" in figures:
        gap = figures["log_likelihood_true"] - figures["log_likelihood"]
        figures = {"log_likelihood_gap": gap, **figures}
    return figures


if __name__ == "__main__":
    run_stage(__doc__, main)
