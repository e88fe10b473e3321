"""A step with the generator loss in a process of its own, whose peak of memory is told.

python tests/benchmarks/unrolled_process.py WIDTH IMAGES STEPS CHECKPOINT
"""

from __future__ import annotations

import json
import resource
import sys
from time import process_time

import torch

from components.datasets.loading import Batch
from components.learners.computing import Computing
from components.learners.optimisation import Schedule
from components.learners.short_run import ShortRunLearner, ShortRunSettings
from components.models.short_run import ShortRunEBM, Start
from components.networks.energy_conv import ConvEnergy
from components.samplers.langevin import LangevinSettings

ROUNDS = 3


def main(width: int, images: int, steps: int, checkpoint: bool) -> dict[str, float]:
    """Take a first step and ROUNDS more; gives MB above those before, and seconds of a step.

    Seconds are the processor's, of one thread: what else runs is not counted.
    """
    torch.set_num_threads(1)
    torch.manual_seed(0)
    energy = ConvEnergy(1, 32, width, [1, 2, 2, 2]).to(memory_format=torch.channels_last)
    model = ShortRunEBM(energy, (1, 32, 32), LangevinSettings(steps, 0.1, 0.0), Start())
    learner = ShortRunLearner(
        model,
        ShortRunSettings(0.1, checkpoint, 1e-4, 1e9),
        Schedule(1e-4, 0, "constant", 1000),
        {"betas": (0.9, 0.999), "weight_decay": 0.0, "clip_deviations": None, "ema": 0.0},
        None,
        1,
        Computing(torch.device("cpu")),
    )
    batch = Batch(torch.randint(256, (images, 1, 32, 32)).to(torch.uint8), None)
    before = peak_mb()
    learner.training_step(batch, 0)
    started = process_time()
    for step in range(1, ROUNDS + 1):
        learner.training_step(batch, step)
    seconds = (process_time() - started) / ROUNDS
    return {"mb": peak_mb() - before, "seconds": seconds}


def peak_mb() -> float:
    """The most that this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0


if __name__ == "__main__":
    numbers = [int(argument) for argument in sys.argv[1:]]
    print(json.dumps(main(*numbers[:3], checkpoint=bool(numbers[3]))))
