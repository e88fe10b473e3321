"""Gradients averaged over two real processes."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn

from components.datasets.loading import Batch
from components.learners import parallel
from components.learners.classification import ClassificationLearner
from components.learners.computing import Computing
from components.learners.optimisation import Schedule

ROOT = Path(__file__).parents[3]
OPTIMISER = {"betas": (0.9, 0.999), "weight_decay": 0.0, "clip_deviations": None, "ema": 0.9}


def gradients(rank: int) -> list[torch.Tensor | None]:
    """Of three parameters; the second has none on worker 1, the third on neither."""
    generator = torch.Generator().manual_seed(rank)
    first = torch.randn(2, 3, 4, 4, generator=generator).to(memory_format=torch.channels_last)
    return [first, torch.full((5,), 6.0) if rank == 0 else None, None]


def learner(seed: int) -> ClassificationLearner:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    schedule = Schedule(0.05, 0, "constant", 10)
    return ClassificationLearner(model, schedule, OPTIMISER, seed, Computing(torch.device("cpu")))


def batch(step: int, rows: slice) -> Batch:
    generator = torch.Generator().manual_seed(step)
    x = torch.randint(0, 256, (8, 1, 4, 4), generator=generator).byte()
    return Batch(x[rows], torch.arange(8)[rows] % 3)


def work(rank: int, folder: str) -> None:
    """One worker: average, broadcast, learn from its half of each batch."""
    torch.set_num_threads(1)
    # Workers out of step with each other shall fail, not wait for half an hour.
    patience = timedelta(seconds=60)
    dist.init_process_group("gloo", f"file://{folder}/meeting", patience, 2, rank)
    try:
        parameters = [nn.Parameter(torch.zeros(size)) for size in ((2, 3, 4, 4), (5,), (2,))]
        parameters[0].data = parameters[0].data.to(memory_format=torch.channels_last)
        for parameter, gradient in zip(parameters, gradients(rank), strict=True):
            parameter.grad = gradient
        # Smaller than the first: two buckets, of which the second holds two gradients.
        parallel.BUCKET_ELEMENTS = 50
        parallel.average_gradients(parameters)

        torch.manual_seed(rank)
        module = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3))
        module.to(memory_format=torch.channels_last)
        module[1].running_mean.fill_(rank + 1.0)
        module[1].num_batches_tracked.fill_(rank + 1)
        parallel.broadcast_module(module)

        taught = learner(rank)  # begins at the weights of worker 0
        for step in range(3):
            taught.training_step(batch(step, slice(4 * rank, 4 * rank + 4)), step)
        results = {
            "gradients": [parameter.grad for parameter in parameters],
            "module": module.state_dict(),
            "learned": taught.exported().state_dict(),
            "world_size": parallel.world_size(),
        }
        torch.save(results, f"{folder}/{rank}.pt")
    finally:
        dist.destroy_process_group()


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("workers")
    # As a script: under its own name a spawned process may find another package called tests.
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    workers = [
        subprocess.Popen([sys.executable, __file__, str(rank), str(folder)], env=environment)
        for rank in range(2)
    ]
    assert [worker.wait() for worker in workers] == [0, 0]
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


def test_gradients_become_their_mean(results):
    conv = 0.5 * (gradients(0)[0] + gradients(1)[0])
    # A worker without a gradient counts as zero.
    expected = [conv, torch.full((5,), 3.0), torch.zeros(2)]
    for found in results:
        assert found["world_size"] == 2
        torch.testing.assert_close(found["gradients"], expected)


def test_all_workers_get_the_first_ones_weights(results):
    torch.manual_seed(0)
    weight = nn.Conv2d(2, 3, 3).weight.detach()
    for found in results:
        assert torch.equal(found["module"]["0.weight"], weight)
        assert found["module"]["1.running_mean"].tolist() == [1.0, 1.0, 1.0]
        assert found["module"]["1.num_batches_tracked"].item() == 1


def test_two_workers_learn_what_one_would(results):
    alone = learner(0)
    for step in range(3):
        alone.training_step(batch(step, slice(None)), step)
    for found in results:
        torch.testing.assert_close(
            found["learned"], dict(alone.exported().state_dict()), rtol=1e-4, atol=1e-6
        )


def test_one_process_is_left_alone():
    parameter = nn.Parameter(torch.zeros(3))
    parallel.average_gradients([parameter])
    assert parameter.grad is None and parallel.world_size() == 1
    values = torch.ones(3)
    parallel.average_tensors([values])
    assert torch.equal(values, torch.ones(3))


if __name__ == "__main__":
    work(int(sys.argv[1]), sys.argv[2])
