"""Two real processes learn a short-run EBM: the same as one, to rounding or in distribution."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.components.learners import programs_short_run
from tests.components.learners.programs_short_run import DRAWS, WHOLE
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


@pytest.mark.parametrize("name", ["drawn_by_likelihood", "drawn_with_the_generator"])
def test_stochastic_gradients_have_one_law(results: Results, name: str) -> None:
    """Mean and variance over many draws of the noise are those of one worker with all items.

    Workers with one random stream between them would double the variance.
    """
    alone: Tensor = getattr(programs_short_run, name)(7, WHOLE)
    together: Tensor = results[0][name]
    assert torch.equal(together, results[1][name])
    deviation = ((alone.var(0) + together.var(0)) / DRAWS).sqrt()
    moving = deviation > 1e-7
    assert moving.float().mean() > 0.5
    z = (alone.mean(0) - together.mean(0))[moving] / deviation[moving]
    assert z.abs().max() < 4.5 and z.square().mean() < 2.5
    torch.testing.assert_close(
        alone.mean(0)[~moving], together.mean(0)[~moving], rtol=1e-3, atol=1e-5
    )
    assert (together.var(0).sum() / alone.var(0).sum()).item() == pytest.approx(1.0, abs=0.25)


def test_each_worker_has_its_own_chains(results: Results) -> None:
    first, second = (found["replayed"] for found in results)
    assert first.shape == second.shape == (12, 2)
    assert torch.cdist(first, second).min() > 1e-3
