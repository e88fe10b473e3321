"""The table of gradient flows: gaps, bounds that are marked, files that are missing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from components.errors import UserError
from pipelines.runtime.identity import REPOSITORY
from pipelines.runtime.settings import FlowTable, load_params
from pipelines.tables.flows import distances, gaps, likelihoods, numbers, read_averages

TABLE = load_params(REPOSITORY / "pipelines/short_run/params.yaml").tabulate_flows["flows"]
LIKELIHOODS = {
    "flow-ebm-swiss-roll": -0.80,
    "flow-ml-swiss-roll": -0.70,
    "flow-ebm-grid": -2.10,
    "flow-ml-grid": -1.50,
}


def figures(likelihood: float, integrable: float = 1.0) -> dict[str, Any]:
    found: dict[str, Any] = {"seeds": 3, "log_likelihood_true": -0.58}
    found |= {"log_likelihood": likelihood, "ebm_log_likelihood": -4.0}
    for prefix in ("", "ebm_", "floor_"):
        found |= {f"{prefix}sliced_wasserstein": 0.02, f"{prefix}energy_distance": 0.001}
    found |= {f"{key}_std_over_seeds": 0.01 for key in list(found)}
    return found | {"ebm_integrable": integrable}


@pytest.fixture
def averages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The averages of all rows; of one training an energy has no density in some seed."""
    monkeypatch.chdir(tmp_path)
    folder = Path("metrics/average")
    folder.mkdir(parents=True)
    for name, likelihood in LIKELIHOODS.items():
        content = figures(likelihood, 2 / 3 if name == "flow-ml-grid" else 1.0)
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


def table() -> FlowTable:
    assert isinstance(TABLE, FlowTable)
    return TABLE


def test_gaps_are_held_against_the_dissertation_s(averages: Path) -> None:
    found = read_averages(table())
    roll, grid = gaps(table(), found)
    assert (roll.ours, roll.paper) == (pytest.approx(0.10), pytest.approx(0.17))
    assert (grid.ours, grid.paper) == (pytest.approx(0.60), pytest.approx(0.48))
    assert roll.holds and not grid.holds
    flat = numbers(found, [roll, grid])
    assert flat["flow-ebm-grid_log_likelihood"] == -2.10
    assert flat["swiss_roll"] is True and flat["grid"] is False
    assert flat["grid_gap"] == pytest.approx(0.60)


def test_a_bound_is_marked(averages: Path) -> None:
    sheet = likelihoods(table(), read_averages(table()))
    cells = {line.model: line.cells for line in sheet.lines}
    assert cells["flow-ebm-grid"] == ("−2.100 ± 0.010", "−4.00 ± 0.01", "1.00", "−0.580", "−1.95")
    assert cells["flow-ml-grid"][1:3] == ("< −4.00 ± 0.01", "0.67")
    assert len(sheet.columns) == 5
    assert len(distances(table(), read_averages(table())).columns) == 6


def test_a_missing_average_is_named_with_what_makes_it(averages: Path) -> None:
    (averages / "flow-ml-grid.json").unlink()
    target = r"pipelines/short_run/dvc\.yaml:average@flow-ml-grid"
    with pytest.raises(UserError, match=rf"flow-ml-grid\.json.*run dvc repro {target}"):
        read_averages(table())
