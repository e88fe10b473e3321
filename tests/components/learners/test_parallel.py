"""Two real processes learn together: the same as one, to rounding or in distribution."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from components.learners import parallel
from components.models.build import build_model
from tests.components.learners import programs
from tests.components.learners.programs import DRAWS, HALVES, WHOLE
from tests.two_workers import run_two

Results = list[dict[str, Any]]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return run_two(Path(programs.__file__), tmp_path_factory.mktemp("workers"))


def test_gradients_become_their_mean(results: Results) -> None:
    first, second = programs.gradients(0)[0], programs.gradients(1)[0]
    assert first is not None and second is not None
    # A worker without a gradient counts as zero.
    expected = [0.5 * (first + second), torch.full((5,), 3.0), torch.zeros(2)]
    for found in results:
        assert found["world_size"] == 2
        torch.testing.assert_close(found["averaged"], expected)


def test_all_workers_get_the_first_ones_weights(results: Results) -> None:
    torch.manual_seed(0)
    weight = nn.Conv2d(2, 3, 3).weight.detach()
    for found in results:
        assert torch.equal(found["broadcast"]["0.weight"], weight)
        assert found["broadcast"]["1.running_mean"].tolist() == [1.0, 1.0, 1.0]
        assert found["broadcast"]["1.num_batches_tracked"].item() == 1


def test_the_first_says_and_the_others_hear(results: Results) -> None:
    assert [found["first_says"]["found"] for found in results] == [({"score": 0.5}, None)] * 2
    assert [found["first_says"]["made"] for found in results] == [[0], []]


def test_batch_norm_is_of_the_whole_batch(results: Results) -> None:
    """Outputs, running statistics, gradients of inputs and weights, and through gradients."""
    alone = programs.normalised(WHOLE)
    assert alone["kinds"].count("SharedBatchNorm") == 0
    for rows, found in zip(HALVES, results, strict=True):
        halved = found["normalised"]
        assert halved["kinds"].count("SharedBatchNorm") == 2
        for name in ("output", "judged"):
            torch.testing.assert_close(halved[name], alone[name][rows], rtol=1e-3, atol=1e-4)
        # The loss is a mean over half as many items.
        torch.testing.assert_close(0.5 * halved["x"], alone["x"][rows], rtol=1e-3, atol=1e-4)
        for name in ("parameters", "state"):
            torch.testing.assert_close(halved[name], alone[name], rtol=1e-3, atol=1e-4)
        assert halved["half"].dtype == torch.bfloat16
        torch.testing.assert_close(halved["half"], halved["rounded"], rtol=0.02, atol=0.02)
    assert torch.equal(results[0]["normalised"]["state"]["1.running_var"],
                       results[1]["normalised"]["state"]["1.running_var"])  # fmt: skip


def test_a_classifier_learns_what_one_worker_would(results: Results) -> None:
    """Nothing is random in it: the same to rounding, batch norm's statistics included."""
    alone = programs.classified(0, WHOLE)
    for found in results:
        torch.testing.assert_close(found["classified"], alone, rtol=1e-3, atol=1e-5)
        # The exported weights are those of a plain model.
        build_model(programs.CLASSIFIER).load_state_dict(found["classified"])
    for name, value in results[0]["classified"].items():
        assert torch.equal(value, results[1]["classified"][name]), name


def test_preparation_looks_at_the_whole_batch(results: Results) -> None:
    alone = programs.prepared(WHOLE, 0)
    for found in results:
        torch.testing.assert_close(found["prepared"], alone, rtol=1e-4, atol=1e-6)
    for name, value in results[0]["prepared"].items():
        assert torch.equal(value, results[1]["prepared"][name]), name


@pytest.mark.parametrize("name", ["drawn_by_vae", "drawn_by_vaebm"])
def test_stochastic_gradients_have_one_law(results: Results, name: str) -> None:
    """Mean and variance over many draws of the noise are those of one worker with all items.

    Workers with one random stream between them would double the variance.
    """
    alone: Tensor = getattr(programs, name)(7, WHOLE)
    together: Tensor = results[0][name]
    assert torch.equal(together, results[1][name])
    deviation = ((alone.var(0) + together.var(0)) / DRAWS).sqrt()
    moving = deviation > 1e-7
    assert moving.float().mean() > 0.5
    z = (alone.mean(0) - together.mean(0))[moving] / deviation[moving]
    assert z.abs().max() < 4.5 and z.square().mean() < 2.5
    torch.testing.assert_close(alone.mean(0)[~moving], together.mean(0)[~moving])
    assert (together.var(0).sum() / alone.var(0).sum()).item() == pytest.approx(1.0, abs=0.25)


def test_each_worker_has_its_own_chains(results: Results) -> None:
    first, second = (found["replayed"] for found in results)
    assert first.shape == second.shape == (12, 2)
    assert torch.cdist(first, second).min() > 1e-3


def test_an_overflow_on_one_worker_is_left_out_on_both(results: Results) -> None:
    first, second = (found["overflowed"] for found in results)
    assert first["scales"] == second["scales"]
    assert first["scales"][5] == 0.5 * first["scales"][4]
    for step, (left, right) in enumerate(zip(first["weights"], second["weights"], strict=True)):
        assert torch.equal(left, right) and bool(left.isfinite().all()), step
    assert torch.equal(first["weights"][5], first["weights"][4])
    assert not torch.equal(first["weights"][6], first["weights"][5])


def test_one_process_is_left_alone() -> None:
    parameter = nn.Parameter(torch.zeros(3))
    parallel.average_gradients([parameter])
    assert parameter.grad is None and parallel.world_size() == 1 and parallel.rank() == 0
    values = torch.ones(3)
    parallel.average_tensors([values])
    assert torch.equal(values, torch.ones(3))
    assert parallel.of_first(lambda: 3, torch.device("cpu")) == 3
    mean, variance = parallel.pooled_moments(values, 2.0 * values)
    assert torch.equal(mean, values) and torch.equal(variance, 2.0 * values)
