"""A worker of a scaling benchmark, without Ray: warms up, says so, and times its steps when told.

Called with a JSON file (the job's stage and description, steps, meeting place), this
worker's number and how many there are. It is run by its path.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import torch
import torch.distributed as dist

from pipelines.runtime.allocation import keep_freed_memory
from pipelines.runtime.launch import Place
from pipelines.runtime.scheduling import schedule_as_batch
from pipelines.stages import compose, pretrain

BUILDERS = {"pretrain": pretrain.build, "compose": compose.build}
WARM_UP = 10  # steps that are not counted


def main(job: Path, rank: int, workers: int) -> None:
    """Print `ready`, wait for a line, then print the seconds that the steps took."""
    content = json.loads(job.read_text())
    torch.set_num_threads(1)
    keep_freed_memory()
    schedule_as_batch()
    if workers > 1:
        meeting = f"file://{content['meeting']}"
        dist.init_process_group("gloo", meeting, world_size=workers, rank=rank)
    place = Place(rank, workers, torch.device("cpu"), 512, compile=False, pin_memory=False)
    task = BUILDERS[content["stage"]](content["description"], place)
    task.learner.prepare(task.batches.next())
    for step in range(WARM_UP):
        task.learner.training_step(task.batches.next(), step)
    print("ready", flush=True)
    sys.stdin.readline()
    started = time.perf_counter()
    for step in range(WARM_UP, WARM_UP + content["steps"]):
        task.learner.training_step(task.batches.next(), step)
    print(time.perf_counter() - started, flush=True)
    if workers > 1:
        dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
