"""Two real processes learn denoising models: one set of weights, the mean of their gradients."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.components.learners import programs_denoising
from tests.components.learners.denoising import game
from tests.components.learners.programs_denoising import HALVES, gradients
from tests.two_workers import run_two

Results = list[dict[str, Any]]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return run_two(Path(programs_denoising.__file__), tmp_path_factory.mktemp("workers"))


@pytest.mark.parametrize("kind", ["game", "diffusion", "plain"])
def test_both_workers_have_the_same_model(results: Results, kind: str) -> None:
    """Begun with other weights, taught with other data and noise."""
    first, second = (found["learned"][kind] for found in results)
    assert first.keys() == second.keys() and first
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


@pytest.mark.parametrize("side", ["generator", "discriminator"])
def test_gradients_are_the_mean_of_the_workers_own(results: Results, side: str) -> None:
    """R1's second derivatives included."""
    first, second = (
        gradients(game(rank, rate=0.0, weights=0), HALVES[rank])[side] for rank in range(2)
    )
    assert not torch.allclose(first, second, rtol=0.05)
    for found in results:
        expected = 0.5 * (first + second)
        torch.testing.assert_close(found["gradients"][side], expected, rtol=1e-4, atol=1e-6)
