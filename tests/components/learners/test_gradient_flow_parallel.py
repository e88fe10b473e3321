"""Two real processes learn a gradient flow: the same as one, to rounding or in distribution."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.components.learners import programs_flow
from tests.components.learners.programs_flow import DRAWS, WHOLE
from tests.two_workers import run_two

Results = list[dict[str, Any]]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return run_two(Path(programs_flow.__file__), tmp_path_factory.mktemp("workers"))


def test_the_likelihood_is_learned_as_by_one_worker(results: Results) -> None:
    """Nothing is random in it: the same to the solver's tolerance."""
    alone = programs_flow.likelihood(0, WHOLE)
    for found in results:
        torch.testing.assert_close(found["likelihood"], alone, rtol=1e-3, atol=1e-4)
    for name, value in results[0]["likelihood"].items():
        assert torch.equal(value, results[1]["likelihood"][name]), name


def test_the_energys_gradients_have_one_law(results: Results) -> None:
    """Workers with one stream of noise between them would double the variance."""
    alone, together = programs_flow.energy(7, WHOLE), results[0]["energy"]
    assert torch.equal(together, results[1]["energy"])
    deviation = ((alone.var(0) + together.var(0)) / DRAWS).sqrt()
    assert (deviation > 1e-7).all()
    z = (alone.mean(0) - together.mean(0)) / deviation
    assert z.abs().max() < 4.5 and z.square().mean() < 2.5
    assert (together.var(0).sum() / alone.var(0).sum()).item() == pytest.approx(1.0, abs=0.4)


def test_a_solve_that_fails_on_one_worker_is_seen_on_both(results: Results) -> None:
    """No worker is left waiting; the weights are spoilt alike, for the loop to roll back."""
    for found in results:
        assert all(value.isnan().all() for value in found["broken"].values())
