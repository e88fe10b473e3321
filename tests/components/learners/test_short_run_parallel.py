"""Two real processes learn a short-run EBM: the same as one, or as each alone on the average."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.components.learners import programs_short_run
from tests.components.learners.programs_short_run import HALVES, WHOLE
from tests.two_workers import run_two

Results = list[dict[str, Any]]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return run_two(Path(programs_short_run.__file__), tmp_path_factory.mktemp("workers"))


def test_chains_from_one_point_are_learned_as_by_one_worker(results: Results) -> None:
    """Nothing is random in them: the same to rounding, gradients through the sampler included."""
    alone = programs_short_run.learned(0, WHOLE)
    for found in results:
        torch.testing.assert_close(found["learned"], alone, rtol=1e-3, atol=1e-5)
    for name, value in results[0]["learned"].items():
        assert torch.equal(value, results[1]["learned"][name]), name


def test_noisy_gradients_are_the_mean_of_the_workers_own(results: Results) -> None:
    """Each worker's is that of one which learns its half alone, with the worker's own noise."""
    first, second = (programs_short_run.noisy(rank, HALVES[rank]) for rank in range(2))
    for name, own in first.items():
        assert not torch.allclose(own, second[name], rtol=0.05), name
        for found in results:
            torch.testing.assert_close(
                found["noisy"][name], 0.5 * (own + second[name]), rtol=1e-4, atol=1e-5
            )
    assert not torch.allclose(first["likelihood, step 0"], first["generator, step 0"], rtol=0.05)


def test_each_worker_has_its_own_chains(results: Results) -> None:
    first, second = (found["replayed"] for found in results)
    assert first.shape == second.shape == (12, 2)
    assert torch.cdist(first, second).min() > 1e-3
