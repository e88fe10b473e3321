"""Try other settings of a model: sweeps.NAME of the settings, through Ray Tune.

Run by no default target. Writes report/sweeps/NAME (index.html, trials.csv, metric.png, cost.png)
and metrics/sweep/NAME.json with the best settings, which `python -m pipelines.sweeps.apply NAME`
puts into params.yaml. An interrupted sweep goes on where it stopped when it is started again.
"""

from __future__ import annotations

from pathlib import Path

from components.files import whole_folder
from pipelines.judging.held_out import held_out_key
from pipelines.runtime.cli import run_stage
from pipelines.runtime.guard import one_at_a_time
from pipelines.runtime.outputs import write_json
from pipelines.runtime.settings import Params
from pipelines.runtime.tracking import IDENTITY_TAG, Tracker
from pipelines.sweeps.page import write_results
from pipelines.sweeps.records import figures
from pipelines.sweeps.rows import Place, TrialRows
from pipelines.sweeps.run import check, forget, run_sweep, storage_of, sweep_identity


def main(name: str, params: Params) -> None:
    """Run the sweep ``name``."""
    sweep = check(name, params)
    key, identity = held_out_key(sweep.judge), sweep_identity(name, params)
    storage, folder = storage_of(name, identity), Path("report/sweeps") / name
    with one_at_a_time(f"sweep {name}", storage.parent / f"sweep-{name}.lock"):
        tracker = Tracker(params.runtime, Path.cwd())
        tags = {"dvc.stage": f"sweep@{name}", "dataset": sweep.data, "family": "sweep"}
        row = tracker.row(name, {IDENTITY_TAG: identity}, {**tags, "kind": sweep.trial.kind})
        place = Place(name, identity, key, params.runtime, Path.cwd(), row.run_id)
        with row.attempt():
            row.settings(sweep.model_dump(mode="json"))
            records = run_sweep(name, params, place, storage)
            TrialRows(place, tracker).settle(records)
            found = figures(records, key)
            with whole_folder(folder) as part:
                write_results(part, name, params, key, records)
            write_json(Path("metrics/sweep") / f"{name}.json", found)
            numbers = {k: value for k, value in found.items() if isinstance(value, int | float)}
            row.figures(numbers)
            row.tags({f"best.{path}": str(value) for path, value in found["best"].items()})
            row.artifacts(folder, "sweep")
        forget(storage)


if __name__ == "__main__":
    run_stage(__doc__, main)
