"""Run a plan's stages as Ray tasks: each as soon as what it reads is there, and room for it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.cluster.plan import Need, PlannedStage

POLL_SECONDS = 0.2


@dataclass
class Ended:
    """How a plan ended.

    Attributes:
        done: stages that ran or had not changed.
        failed: stages that failed.
        skipped: stages that wait for one that failed.
    """

    done: list[str]
    failed: list[str]
    skipped: list[str]


class Room:
    """What the cluster has, and what the running stages take of it.

    Args:
        cpus: of the whole cluster.
        gpus: likewise.
        at_once: stages at the same time, at the most.
    """

    def __init__(self, cpus: int, gpus: int, at_once: int) -> None:
        self.cpus, self.gpus, self.at_once = cpus, gpus, at_once
        self.taken: list[Need] = []

    def has(self, need: Need) -> bool:
        """Whether one more fits; with nothing running anything does, and says itself what it lacks.

        >>> Room(2, 0, 4).has(Need(8, 0, 8, 0))
        True
        """
        if not self.taken:
            return True
        cpus = sum(each.cpus for each in self.taken) + need.cpus
        gpus = sum(each.gpus for each in self.taken) + need.gpus
        return len(self.taken) < self.at_once and cpus <= self.cpus and gpus <= self.gpus


def run_branches(
    root: Path, plan: Sequence[PlannedStage], at_once: int, spread: bool, say: Callable[[str], None]
) -> Ended:
    """Run a plan on the Ray cluster that this process is connected to.

    A failed stage keeps what waits for it from running, and nothing else.

    Args:
        root: the repository's folder, seen by all nodes that run stages.
        plan: stages in an order in which they could be run one by one.
        at_once: stages at the same time, at the most.
        spread: stages may run on any node; otherwise all on this one, and only trainings on others.
        say: shows a line.
    """
    import ray

    from pipelines.runtime.progress import Board

    resources = ray.cluster_resources()
    room = Room(int(resources.get("CPU", 1)), int(resources.get("GPU", 0)), at_once)
    board: Any = ray.remote(Board).options(num_cpus=0, scheduling_strategy=_here()).remote()
    ended, waiting = Ended([], [], []), list(plan)
    running: dict[Any, PlannedStage] = {}
    try:
        while waiting or running:
            for stage in [each for each in waiting if _ready(each, waiting, running)]:
                if room.has(stage.need):
                    waiting.remove(stage)
                    room.taken.append(stage.need)
                    running[_submit(root, stage, room, spread, board)] = stage
            ready, _ = ray.wait(list(running), timeout=POLL_SECONDS) if running else ([], [])
            _tell(ray.get(board.take.remote()), say)
            for reference in ready:
                stage = running.pop(reference)
                room.taken.remove(stage.need)
                _settle(reference, stage, waiting, ended, say)
    except BaseException:
        _cancel(list(running))
        raise
    time.sleep(POLL_SECONDS)
    _tell(ray.get(board.take.remote()), say)
    return ended


def _ready(
    stage: PlannedStage,
    waiting: Sequence[PlannedStage],
    running: dict[Any, PlannedStage],
) -> bool:
    unfinished = {each.target for each in [*waiting, *running.values()]}
    return not stage.after & unfinished


def _submit(root: Path, stage: PlannedStage, room: Room, spread: bool, board: Any) -> Any:
    import ray

    from pipelines.cluster.task import HANDED_ON, repro_stage

    environment = {key: value for key, value in os.environ.items() if key.startswith(HANDED_ON)}
    task: Any = ray.remote(repro_stage).options(
        name=stage.target,
        num_cpus=min(stage.need.own_cpus, room.cpus),
        num_gpus=min(stage.need.own_gpus, room.gpus),
        max_retries=0,
        scheduling_strategy="SPREAD" if spread else _here(),
    )
    address = ray.get_runtime_context().gcs_address
    return task.remote(str(root), stage.target, address, environment, board)


def _here() -> Any:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)


def _settle(
    reference: Any,
    stage: PlannedStage,
    waiting: list[PlannedStage],
    ended: Ended,
    say: Callable[[str], None],
) -> None:
    import ray
    from ray.exceptions import RayError

    try:
        status = ray.get(reference)
    except RayError as error:
        say(f"{stage.target}: its process is lost ({str(error).strip().splitlines()[0]})")
        status = 1
    if status == 0:
        ended.done.append(stage.target)
        return
    ended.failed.append(stage.target)
    lost = {stage.target}
    for each in list(waiting):  # in the plan's order: what waits comes after what it waits for
        if each.after & lost:
            lost.add(each.target)
            waiting.remove(each)
            ended.skipped.append(each.target)


def _tell(events: Sequence[dict[str, Any]], say: Callable[[str], None]) -> None:
    for event in events:
        say(f"[{event['target']}] {event['line']}")


def _cancel(references: Sequence[Any]) -> None:
    """End what runs, and wait until it has ended: nothing may go on alone."""
    import ray
    from ray.exceptions import RayError

    for reference in references:
        ray.cancel(reference)
    for reference in references:
        try:
            ray.get(reference, timeout=60.0)
        except (RayError, TimeoutError, KeyboardInterrupt):
            continue
