"""What a `dvc repro` would run: stages in DVC's own order, what each waits for and needs."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.errors import UserError
from pipelines.runtime.settings import Params, load_params

TRAINING = frozenset({"features", "pretrain", "compose"})
"""Stages whose work is done by Ray Train's workers."""
COMPUTING = frozenset({"sample", "evaluate"})
"""Stages that compute in a process of their own, by the threads of `runtime`."""
MODULE = "pipelines.stages."


@dataclass(frozen=True)
class Need:
    """What a stage takes of the cluster.

    Attributes:
        cpus: all that it keeps busy.
        gpus: likewise.
        own_cpus: those of them that its own process keeps busy, and no worker of Ray Train.
        own_gpus: likewise.
    """

    cpus: int
    gpus: float
    own_cpus: int
    own_gpus: float


@dataclass(frozen=True)
class PlannedStage:
    """A stage of the DAG.

    Attributes:
        target: what `dvc repro` calls it.
        after: targets that it waits for.
        need: what it takes of the cluster.
    """

    target: str
    after: frozenset[str]
    need: Need


def read_plan(root: Path, targets: Sequence[str]) -> list[PlannedStage]:
    """What `dvc repro TARGETS` would go through, in its order.

    Args:
        root: the repository's folder.
        targets: as `dvc repro` takes them; none: the stages of dvc.yaml.

    Raises:
        UserError: no DVC repository, no such target, a DVC file or settings that are wrong.
    """
    # Seconds to import, and not needed by who only asks for help.
    from dvc.exceptions import DvcException
    from dvc.repo import Repo
    from dvc.repo.reproduce import collect_stages, get_active_graph, plan_repro

    try:
        # DVC takes targets as seen from the working folder.
        with contextlib.chdir(root), Repo(".") as repo, repo.lock:
            graph = get_active_graph(repo.index.graph)
            stages = plan_repro(graph, collect_stages(repo, list(targets) or ["dvc.yaml"]))
            commands = {stage.addressing: stage.cmd for stage in stages if stage.cmd}
            after = {
                stage.addressing: frozenset(
                    each.addressing for each in graph.successors(stage) if each.cmd
                )
                for stage in stages
            }
    except DvcException as error:
        raise UserError(f"dvc: {' '.join(str(error).split())}") from None
    settings: dict[Path, Params] = {}
    return [
        PlannedStage(target, after[target], _need(command, root, settings))
        for target, command in commands.items()
    ]


def _need(command: Any, root: Path, settings: dict[Path, Params]) -> Need:
    words = str(command).split()
    module = next((word for word in words if word.startswith(MODULE)), "")
    file = root / (words[words.index("--params") + 1] if "--params" in words else "params.yaml")
    if file not in settings:
        settings[file] = load_params(file)
    stage, name = module.removeprefix(MODULE), words[words.index(module) + 1] if module else ""
    return need_of(stage, name, settings[file])


def need_of(stage: str, name: str, params: Params) -> Need:
    """What a stage takes of the cluster.

    Args:
        stage: of the DAG; one that is not known takes a CPU.
        name: of its entry.
        params: the settings that it runs by.
    """
    runtime = params.runtime
    gpus = int(runtime.gpu)
    if stage in TRAINING and runtime.num_workers:
        workers = runtime.min_workers or runtime.num_workers
        return Need(workers * runtime.threads, workers * gpus, 0, 0)
    if stage in TRAINING | COMPUTING:
        return Need(runtime.threads, gpus, runtime.threads, gpus)
    if stage == "sweep" and name in params.sweeps:
        trials = params.sweeps[name].resources
        return Need(trials.cpus * trials.at_once, trials.gpus * trials.at_once, 0, 0)
    return Need(1, 0, 1, 0)
