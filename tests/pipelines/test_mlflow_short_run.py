"""The image models' entry points of the MLflow Project of short-run EBMs."""

from __future__ import annotations

import pytest
import yaml

from components.errors import UserError
from pipelines.runtime.identity import REPOSITORY
from pipelines.runtime.settings import load_params
from pipelines.runtime.settings.paths import assigned

PARAMS = "pipelines/short_run/params.yaml"
PROJECT = yaml.safe_load((REPOSITORY / "mlflow_projects/shortrun_ebm/MLproject").read_text())
STAGES = ("pretrain", "sample", "evaluate", "tabulate")


def assignments(stage: str, **values: str) -> list[str]:
    """What an entry point's command gives to --set; parameters without a value are 2."""
    own = PROJECT["entry_points"][stage]
    defaults = {key: each["default"] for key, each in own["parameters"].items()}
    filled = {key: default or "2" for key, default in defaults.items()} | values
    return [word for word in own["command"].format(**filled).split() if "=" in word]


@pytest.mark.parametrize("stage", STAGES)
def test_an_entry_point_fits_the_settings(stage: str) -> None:
    parameters, command = (PROJECT["entry_points"][stage][key] for key in ("parameters", "command"))
    assert f"-m pipelines.stages.{stage} {{name}} --params {{params}}" in command
    # Of all values that a parameter could have by default, only names are not the settings file's.
    defaults = {key: each["default"] for key, each in parameters.items() if each["default"]}
    assert defaults.keys() == {"name", "params"} and defaults["params"] == PARAMS
    given = assignments(stage, **({"checkpoint": "true"} if stage == "pretrain" else {}))
    assert len(given) == len(parameters) - 2
    changed = load_params(REPOSITORY / PARAMS, assigned(given))
    assert defaults["name"] in getattr(changed, stage)
    assert (changed != load_params(REPOSITORY / PARAMS)) == bool(given)


def test_the_objective_is_what_was_given() -> None:
    given = assigned(assignments("pretrain", generator_weight="0.5", checkpoint="true"))
    settings = load_params(REPOSITORY / PARAMS, given).pretrain["ebm-noise-free-mnist"]
    assert settings.kind == "short-run-ebm"
    assert settings.generator_weight == 0.5 and settings.checkpoint


def test_what_an_entry_has_not_is_refused_by_name() -> None:
    given = assigned(assignments("pretrain", name="flow-ebm-swiss-roll", checkpoint="false"))
    with pytest.raises(UserError, match=r"no pretrain\.flow-ebm-swiss-roll\.energy\.width"):
        load_params(REPOSITORY / PARAMS, given)
