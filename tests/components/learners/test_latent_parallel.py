"""Two real processes learn latents together: the same as one, to rounding or in distribution."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.components.learners import programs_latent
from tests.components.learners.programs_latent import DRAWS, WHOLE
from tests.two_workers import run_two

Results = list[dict[str, Any]]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return run_two(Path(programs_latent.__file__), tmp_path_factory.mktemp("workers"))


@pytest.mark.parametrize("name", ["glf", "rae", "second_stage"])
def test_points_are_learned_as_by_one_worker(results: Results, name: str) -> None:
    """Nothing is random in them: the same to rounding, batch norm and averages included.

    Auto-encoder and flow have rates of their own, and RAE here learns its weight β.
    """
    alone = getattr(programs_latent, name)(0, WHOLE)
    for found in results:
        torch.testing.assert_close(found[name], alone, rtol=1e-3, atol=1e-5)
    for key, value in results[0][name].items():
        assert torch.equal(value, results[1][name][key]), key
    assert name != "rae" or alone["log_sigma"].abs() > 0.005


@pytest.mark.parametrize("name", ["gaussian", "mmd", "gan"])
def test_noisy_gradients_have_one_law(results: Results, name: str) -> None:
    """The mean over many draws is that of one worker with all items, of all optimisers' weights.

    Of a posterior's noise and of the adversary's draws, which are independent between items, the
    variance is the same too. MMD on two halves leaves out the pairs across them: no bias, but
    another variance.
    """
    alone: Tensor = getattr(programs_latent, name)(7, WHOLE)
    together: Tensor = results[0][name]
    assert torch.equal(together, results[1][name])
    deviation = ((alone.var(0) + together.var(0)) / DRAWS).sqrt()
    moving = deviation > 1e-6
    assert moving.any()
    z = (alone.mean(0) - together.mean(0))[moving] / deviation[moving]
    assert z.abs().max() < 4.5 and z.square().mean() < 2.5
    torch.testing.assert_close(
        alone.mean(0)[~moving], together.mean(0)[~moving], rtol=1e-3, atol=1e-4
    )
    if name != "mmd":
        # One stream of noise on both workers would double it.
        assert (together.var(0).sum() / alone.var(0).sum()).item() == pytest.approx(1.0, abs=0.4)


def test_a_mixture_is_fitted_once_and_agreed(results: Results) -> None:
    alone = programs_latent.mixture(0, WHOLE)
    first, second = (found["mixture"] for found in results)
    assert (first["fitted"], second["fitted"]) == (True, False)
    for found in (first, second):
        assert torch.equal(found["nll"], first["nll"])
        for name, value in first["state"].items():
            assert torch.equal(found["state"][name], value), name
    torch.testing.assert_close(first["state"], alone["state"], rtol=1e-4, atol=1e-5)
