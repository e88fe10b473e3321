"""Two real workers in the training loop: one judges for both, and both decide the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from pipelines.runtime.task import Outcome
from tests.two_workers import run_two

Results = list[dict[str, Any]]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return run_two(Path(__file__).with_name("loop_worker.py"), tmp_path_factory.mktemp("loop"))


def assert_same_weights(results: Results, name: str) -> None:
    first, second = (found[name]["weights"] for found in results)
    assert first.keys() == second.keys()
    assert [key for key in first if not torch.equal(first[key], second[key])] == []


def test_the_first_worker_judges_for_all(results: Results) -> None:
    first, second = (found["judged"] for found in results)
    assert first["calls"] == [4, 8, 12] and second["calls"] == []
    assert first["pictures"] == [4, 8, 12] and second["pictures"] == []
    # Kept and stopped by the first one's scores: 5, 3, 4.
    assert Outcome(**first["outcome"]) == Outcome(**second["outcome"])
    assert first["outcome"]["step"] == 12
    assert (first["outcome"]["kept_step"], first["outcome"]["kept_score"]) == (8, 3.0)
    assert_same_weights(results, "judged")


def test_what_breaks_on_one_worker_is_rolled_back_on_both(results: Results) -> None:
    first, second = (found["broken"] for found in results)
    assert Outcome(**first["outcome"]) == Outcome(**second["outcome"])
    assert first["outcome"]["rollbacks"] == [(10, "weights not finite")]
    assert first["outcome"]["finished"] and first["outcome"]["step"] == 24
    # Each goes on with a new random stream of its own.
    assert len(first["seeds"]) == len(second["seeds"]) == 1
    assert first["seeds"] != second["seeds"]
    assert_same_weights(results, "broken")
