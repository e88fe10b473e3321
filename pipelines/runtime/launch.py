"""Run a training: inside Ray Train on one worker or many, or in this process without Ray.

The stage describes the training as a `Job` of plain values; each worker rebuilds learner and data
from it, so that nothing but names and settings travels.
"""

from __future__ import annotations

import importlib
import os
import shutil
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from components.errors import UserError
from pipelines.runtime.allocation import keep_freed_memory
from pipelines.runtime.checkpoints import FolderStore
from pipelines.runtime.cli import quieten_libraries
from pipelines.runtime.loop import train
from pipelines.runtime.progress import Board, BoardReporter, Follower, Log, SilentReporter
from pipelines.runtime.ray_session import RAY_ENVIRONMENT, attach, check_room, least_workers
from pipelines.runtime.scheduling import schedule_as_batch
from pipelines.runtime.settings import Plan, Runtime
from pipelines.runtime.task import CheckpointStore, Outcome, Reporter, State, Task


@dataclass(frozen=True)
class Place:
    """Where a worker's part of a training happens.

    Attributes:
        rank: number of the worker.
        world_size: how many there are.
        device: where its networks live.
        memory_limit_mb: data sets up to this size are held in memory.
        compile: whether networks are compiled.
        pin_memory: whether batches reach the device through page-locked memory.
    """

    rank: int
    world_size: int
    device: torch.device
    memory_limit_mb: int
    compile: bool
    pin_memory: bool

    @classmethod
    def of(cls, runtime: Runtime, rank: int, world_size: int, device: torch.device) -> Place:
        """The place that the settings give a worker."""
        shared = ("memory_limit_mb", "compile", "pin_memory")
        return cls(rank, world_size, device, **runtime.model_dump(include=set(shared)))


@dataclass(frozen=True)
class Job:
    """A training as plain values.

    Attributes:
        name: of the model.
        stage: of the DAG.
        builder: ``module:function`` that makes a `Task` from ``description`` and a `Place`.
        description: whatever the builder needs: settings, absolute paths.
        plan: length and rhythm.
        seed: of the training.
        identity: hash of all that the result depends on; a checkpoint of another identity is
            never picked up.
    """

    name: str
    stage: str
    builder: str
    description: dict[str, Any]
    plan: Plan
    seed: int
    identity: str

    @property
    def run_name(self) -> str:
        return f"{self.stage}-{self.name}-{self.identity}"


@dataclass(frozen=True)
class Trained:
    """What comes back of a training.

    Attributes:
        weights: the exported model's state dict, on the CPU.
        outcome: the training's story.
        start_seconds: from the launch to the first worker's first line of work.
    """

    weights: dict[str, Tensor]
    outcome: Outcome
    start_seconds: float


def run_training(job: Job, runtime: Runtime, storage: Path, log: Log) -> Trained:
    """Train, going on from the last checkpoint of the same job if there is one.

    Args:
        job: the training.
        runtime: where it runs.
        storage: absolute folder for checkpoints, outside DVC's outputs.
        log: receives curves and pictures.

    Raises:
        UserError: the cluster has not what the settings ask for, the workers cannot share the
            batch, or whatever a worker has to say to the user.
    """
    _check_shares(job, runtime)
    run = _in_process if runtime.num_workers == 0 else _on_ray
    final, start_seconds = run(job, runtime, storage, log)
    return Trained(final["weights"], Outcome(**final["outcome"]), start_seconds)


def forget(job: Job, storage: Path) -> None:
    """Remove the checkpoints of a training whose outputs are written."""
    shutil.rmtree(storage / job.run_name, ignore_errors=True)


def work(job: Mapping[str, Any], place: Place, store: CheckpointStore, reporter: Reporter) -> None:
    """What each worker does, with Ray or without: train, then keep the exported weights."""
    reporter.started()
    saved = store.load()
    if saved is not None and "weights" in saved:
        reporter.said("is done already; its outputs are written")
        return
    module, function = job["builder"].split(":")
    task: Task = getattr(importlib.import_module(module), function)(job["description"], place)
    plan = Plan.model_validate(job["plan"])
    outcome = train(task, plan, job["seed"], place.rank, saved, store, reporter)
    weights = {name: value.cpu() for name, value in task.learner.exported().state_dict().items()}
    store.save(outcome.step + 1, {"weights": weights, "outcome": asdict(outcome)})


def _in_process(job: Job, runtime: Runtime, storage: Path, log: Log) -> tuple[State, float]:
    torch.set_num_threads(runtime.threads)
    device = torch.device("cuda" if runtime.gpu else "cpu")
    place = Place.of(runtime, 0, 1, device)
    board = Board()
    reporter = BoardReporter(board.post)
    store = FolderStore(storage / job.run_name, say=reporter.said)
    with Follower(f"{job.stage} {job.name}", board.take, log) as follower:
        work(plain(job), place, store, reporter)
    final = store.load()
    assert final is not None
    return final, follower.start_seconds


def _on_ray(job: Job, runtime: Runtime, storage: Path, log: Log) -> tuple[State, float]:
    os.environ.update({k: v for k, v in RAY_ENVIRONMENT.items() if k not in os.environ})
    import ray
    from ray.train import (
        ControllerError,
        FailureConfig,
        RunConfig,
        ScalingConfig,
        WorkerGroupError,
    )
    from ray.train.torch import TorchTrainer
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    from pipelines.runtime.backend import backend_of
    from pipelines.runtime.failures import (
        BoardReader,
        LossesAreTold,
        MistakesEndTraining,
        meant_for_user,
    )

    attach(runtime)
    check_room(runtime)
    # On the driver's own node: with any other, the board could be lost while the driver lives.
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    board: Any = ray.remote(Board).options(num_cpus=0, scheduling_strategy=here).remote()
    # Ray's annotations are still those of its first API.
    callbacks: Any = [MistakesEndTraining(), LossesAreTold(board)]
    trainer = TorchTrainer(
        ray_worker,
        train_loop_config={
            "job": plain(job),
            "runtime": runtime.model_dump(),
            "board": board,
            "checkpoints": str(storage / job.run_name),
        },
        torch_config=backend_of(runtime),
        scaling_config=ScalingConfig(
            num_workers=_workers(runtime),
            use_gpu=runtime.gpu,
            resources_per_worker={"CPU": runtime.threads, "GPU": int(runtime.gpu)},
        ),
        run_config=RunConfig(
            name=job.run_name,
            storage_path=str(storage),
            failure_config=FailureConfig(max_failures=runtime.max_failures),
            callbacks=callbacks,
        ),
    )
    ended: Future[None] = Future()
    reader = BoardReader(board, least_workers(runtime) * runtime.threads, ended)
    try:
        with Follower(f"{job.stage} {job.name}", reader.take, log) as told:
            try:
                _fit(trainer, ended)
            except WorkerGroupError as error:
                raise meant_for_user(error.worker_failures.values()) or error from None
            except ControllerError as error:
                raise meant_for_user([error.controller_failure]) or error from None
    except (KeyboardInterrupt, SystemExit):
        ray.shutdown()  # no worker goes on alone
        raise
    final = FolderStore(storage / job.run_name).load()
    assert final is not None
    return final, told.start_seconds


def _fit(trainer: Any, ended: Future[None]) -> None:
    """Run a trainer beside the main thread, which signals can interrupt.

    In the main thread Ray would take Ctrl-C for itself and end the process with status 0.
    """

    def run() -> None:
        try:
            trainer.fit()
        except BaseException as error:
            if not ended.done():
                ended.set_exception(error)
        else:
            ended.set_result(None)

    threading.Thread(target=run, daemon=True).start()
    ended.result()


def _workers(runtime: Runtime) -> Any:
    """What Ray Train is asked for: a number that it waits for, or the least and the most.

    Ray's own annotation still lacks the pair.
    """
    if runtime.min_workers in (None, runtime.num_workers):
        return runtime.num_workers
    return runtime.min_workers, runtime.num_workers


def ray_worker(config: dict[str, Any]) -> None:
    """The function that Ray Train runs on each worker."""
    from ray import train as ray_train
    from ray.train.collective import broadcast_from_rank_zero
    from ray.train.torch import get_device

    runtime, context = Runtime.model_validate(config["runtime"]), ray_train.get_context()
    quieten_libraries()
    keep_freed_memory()
    schedule_as_batch()
    torch.set_num_threads(runtime.threads)
    rank = context.get_world_rank()
    place = Place.of(runtime, rank, context.get_world_size(), get_device())
    reporter = BoardReporter(config["board"].post.remote) if rank == 0 else SilentReporter()
    store = FolderStore(
        Path(config["checkpoints"]),
        rank,
        context.get_world_size(),
        reporter.said,
        lambda make: broadcast_from_rank_zero(make() if rank == 0 else None),
    )
    work(config["job"], place, store, reporter)


def _check_shares(job: Job, runtime: Runtime) -> None:
    """Refuse before anything is started what every worker would refuse after it."""
    parts, most = job.plan.accumulation, max(1, runtime.num_workers)
    for workers in range(runtime.min_workers or most, most + 1):
        if job.plan.batch_size % (workers * parts):
            raise UserError(
                f"{job.stage}.{job.name}: batch_size {job.plan.batch_size} does not divide among "
                f"{workers} workers of {parts} parts: make it a multiple of {workers * parts}, or "
                "change runtime.num_workers, runtime.min_workers or plan.accumulation"
            )


def plain(job: Job) -> dict[str, Any]:
    """The job as what `work` takes."""
    return {**asdict(job), "plan": job.plan.model_dump()}
