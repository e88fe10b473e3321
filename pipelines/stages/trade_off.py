"""Draw quality against sampling time: trade_off.NAME of the settings (Figure 6.6).

Reads metrics/evaluate of each point. Writes plots/trade_off/NAME/{time,evaluations}.png and
metrics/trade_off/NAME.json: quality, seconds and network evaluations of each.
"""

from __future__ import annotations

from pathlib import Path

from components.errors import UserError
from components.files import whole_folder
from components.plots.grids import png_bytes
from components.plots.sweeps import quality_cost
from pipelines.comparison.files import Figures, read_json
from pipelines.runtime.cli import run_stage
from pipelines.runtime.outputs import write_json
from pipelines.runtime.settings import Params, TradeOff, entry

SECONDS, EVALUATIONS = "sampling_seconds", "nfe"


def main(name: str, params: Params) -> None:
    """Run the stage for one figure."""
    settings = entry(params.trade_off, "trade_off", name)
    found = {each.name: _figures(each.name, settings) for each in settings.points}
    rows = list(found.values())
    quality = [float(row[settings.quality]) for row in rows]
    spread = [float(row.get(f"{settings.quality}_std", 0.0)) for row in rows]
    families = [each.family for each in settings.points]
    costs = {
        "time": (SECONDS, f"seconds for {rows[0]['sampled_count']} items"),
        "evaluations": (EVALUATIONS, "network evaluations of an item"),
    }
    with whole_folder(Path("plots/trade_off") / name) as folder:
        for stem, (key, told) in costs.items():
            cost = [float(row[key]) for row in rows]
            figure = quality_cost(cost, quality, spread, families, settings.measure, told)
            (folder / f"{stem}.png").write_bytes(png_bytes(figure))
    flat = {
        f"{point}_{key}": float(row[key])
        for point, row in found.items()
        for key in (settings.quality, SECONDS, EVALUATIONS)
    }
    write_json(Path("metrics/trade_off") / f"{name}.json", flat)


def _figures(point: str, settings: TradeOff) -> Figures:
    file, target = Path("metrics/evaluate") / f"{point}.json", f"evaluate@{point}"
    figures = read_json(file, f"{settings.workflow}:{target}")
    for key in (settings.quality, SECONDS, EVALUATIONS, "sampled_count", "count"):
        if key not in figures:
            raise UserError(f"{file} has no {key}: run dvc repro {settings.workflow}:{target}")
    if figures["count"] != settings.count:
        raise UserError(
            f"{file} judges {figures['count']} items, not {settings.count}: distances of other "
            f"numbers cannot be compared, set sample.{point}.count"
        )
    return figures


if __name__ == "__main__":
    run_stage(__doc__, main)
