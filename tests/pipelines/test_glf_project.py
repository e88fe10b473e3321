"""The MLflow Project of latent flows: its parameters are settings that there are."""

from __future__ import annotations

import re

import pytest
import yaml

from pipelines.runtime.identity import REPOSITORY
from pipelines.runtime.settings import load_params
from pipelines.runtime.settings.paths import assigned

PROJECT = REPOSITORY / "mlflow_projects/glf/MLproject"
ENTRY_POINTS = yaml.safe_load(PROJECT.read_text())["entry_points"]
EXAMPLES = {
    "base": "rae-mnist",
    "stop_gradient": "false",
    "weight": "3.5",
    "learning_rate": "0.25",
}


@pytest.mark.parametrize("entry_point", ENTRY_POINTS)
def test_each_parameter_changes_its_setting(entry_point: str) -> None:
    """A path that the schema does not know is refused, a value that changes nothing is seen."""
    parameters = ENTRY_POINTS[entry_point]["parameters"]
    file = REPOSITORY / parameters["params"]["default"]
    before = load_params(file)
    name = parameters["name"]["default"]
    assert name in getattr(before, entry_point)
    paths = re.findall(r"--set (\S+)=\{(\w+)\}", ENTRY_POINTS[entry_point]["command"])
    assert {parameter for _, parameter in paths} == parameters.keys() - {"name", "params"}
    for path, parameter in paths:
        given = EXAMPLES.get(parameter, "7")
        change = assigned([f"{path.replace('{name}', name)}={given}"])
        assert load_params(file, change) != before, path
