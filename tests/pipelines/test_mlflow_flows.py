"""Entry points of flows in the MLflow Project of short-run EBMs: their parameters are settings."""

from __future__ import annotations

import pytest
import yaml

from pipelines.runtime.identity import REPOSITORY
from pipelines.runtime.settings import load_params
from pipelines.runtime.settings.paths import assigned

PARAMS = "pipelines/short_run/params.yaml"
PROJECT = yaml.safe_load((REPOSITORY / "mlflow_projects/shortrun_ebm/MLproject").read_text())
STAGES = {f"{stage}_flow": stage for stage in ("pretrain", "sample", "evaluate")}
STAGES |= {stage: stage for stage in ("average", "tabulate_flows", "sweep")}


@pytest.mark.parametrize("point", STAGES)
def test_an_entry_point_fits_the_settings(point: str) -> None:
    stage, own = STAGES[point], PROJECT["entry_points"][point]
    assert f"-m pipelines.stages.{stage} {{name}} --params {{params}}" in own["command"]
    assert (REPOSITORY / f"pipelines/stages/{stage}.py").is_file()
    defaults = {key: each["default"] for key, each in own["parameters"].items()}
    # Of all values that a parameter could have by default, only names are not the settings file's.
    assert {key for key, value in defaults.items() if value} == {"name", "params"}
    assert defaults["params"] == PARAMS
    filled = {key: default or "2" for key, default in defaults.items()}
    given = [word for word in own["command"].format(**filled).split() if "=" in word]
    assert len(given) == len(defaults) - 2
    changed = load_params(REPOSITORY / PARAMS, assigned(given))
    section = "sweeps" if stage == "sweep" else stage
    assert defaults["name"] in getattr(changed, section)
    assert (changed != load_params(REPOSITORY / PARAMS)) == bool(given)
