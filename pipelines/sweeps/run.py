"""Run a sweep through Ray Tune, or go on with one that was interrupted."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.experiment import Trial

from components.errors import UserError
from pipelines.runtime.identity import REPOSITORY, identity
from pipelines.runtime.ray_session import RAY_ENVIRONMENT, attach
from pipelines.runtime.settings import Compose, Params, Pretrain, Sweep, entry
from pipelines.runtime.settings.paths import replaced, value_at
from pipelines.runtime.stage import STORAGE
from pipelines.stages.sample import check_settings
from pipelines.sweeps.records import Record, make_record
from pipelines.sweeps.rows import Place, SweepCallback, read_picture
from pipelines.sweeps.space import (
    param_space,
    sample_count,
    scheduler_of,
    search_algorithm,
    trial_count,
)
from pipelines.sweeps.trials import (
    Subject,
    sampling_trial,
    section_of,
    source_of,
    training_trial,
)

ENVIRONMENT = {
    **RAY_ENVIRONMENT,
    "TUNE_GLOBAL_CHECKPOINT_S": "2",  # the state from which an interrupted sweep goes on
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C ends the stage, not just its trials
}
EXPERIMENT = "tune"


def check(name: str, params: Params) -> Sweep:
    """Find a sweep's settings wrong before anything is computed.

    Args:
        name: of the sweep.
        params: the whole settings.

    Returns:
        The sweep's entry.

    Raises:
        UserError: a path that is not there or that trials would not read, names that do not
            belong together, or a model that was trained by other settings.
    """
    sweep = entry(params.sweeps, "sweeps", name)
    section = section_of(sweep, params)
    content = params.model_dump(mode="json")
    for path in (*sweep.space, *sweep.fixed):
        value_at(content, path)
        if not path.startswith(f"{section}.{sweep.model}."):
            raise UserError(
                f"sweeps.{name} varies {path}, which its trials do not read: a {sweep.trial.kind} "
                f"sweep of {sweep.model} varies settings below {section}.{sweep.model}"
            )
    models: dict[str, Pretrain | Compose] = {**params.pretrain, **params.compose}
    source = source_of(sweep, params)
    trained = entry(models, "pretrain or compose", source)
    entry(getattr(params, section), section, sweep.model)
    if sweep.trial.kind == "training" and not hasattr(trained, "select"):
        raise UserError(
            f"sweeps.{name} trains {sweep.model}, which is not chosen by samples: a training sweep "
            "is of a model that has `select`"
        )
    reads = getattr(trained, "base", None) if section == "compose" else source
    for key, wanted in (("reads", reads), ("data", trained.data)):
        if getattr(sweep, key) != wanted:
            raise UserError(
                f"sweeps.{name}.{key} is {getattr(sweep, key)}, but the trials of {sweep.model} "
                f"read {wanted}"
            )
    if section == "sample":
        check_settings(source, Path("models") / sweep.reads, params)
    return sweep


def sweep_identity(name: str, params: Params) -> str:
    """Hash of all that a sweep's result is a function of: settings, inputs, code.

    The values in params.yaml of what is varied or fixed are not among it, nor are the resources.
    """
    sweep = entry(params.sweeps, "sweeps", name)
    section = section_of(sweep, params)
    content = replaced(params.model_dump(mode="json"), dict.fromkeys(sweep.space) | sweep.fixed)
    settings = {
        "sweep": sweep.model_dump(mode="json", exclude={"resources"}),
        "model": content[section][sweep.model],
    }
    inputs = [
        Path("models") / sweep.reads,
        Path("data/shards") / sweep.data,
        Path("models/features") / sweep.data,
    ]
    own = sorted((REPOSITORY / "pipelines/sweeps").glob("*.py"))
    stages = [REPOSITORY / "pipelines/stages" / f"{stage}.py" for stage in ("sample", section)]
    code = [hashlib.sha256(file.read_bytes()).hexdigest() for file in (*own, *stages)]
    return identity({**settings, "code": code}, inputs, "sweep")


def storage_of(name: str, key: str) -> Path:
    """Absolute folder of a sweep's state and of its trainings' checkpoints."""
    return (STORAGE / f"sweep-{name}-{key}").resolve()


def forget(storage: Path) -> None:
    """Remove the state of a sweep whose outputs are written."""
    shutil.rmtree(storage, ignore_errors=True)


def run_sweep(name: str, params: Params, place: Place, storage: Path) -> list[Record]:
    """Run all trials; go on where an interrupted run of the same sweep stopped.

    A trial that fails or diverges is recorded like the others.

    Args:
        name: of the sweep.
        params: the whole settings.
        place: where its rows in MLflow are.
        storage: absolute folder that is this sweep's alone.

    Returns:
        The trials, in the order in which they were made.

    Raises:
        UserError: the cluster has not what a trial needs.
    """
    sweep = entry(params.sweeps, "sweeps", name)
    os.environ.update({k: v for k, v in ENVIRONMENT.items() if k not in os.environ})
    # Tune tells each failed trial's traceback; here they are rows of the table.
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    attach(params.runtime)
    _check_room(sweep)
    subject = Subject(name, str(place.root), params.model_dump(mode="json"), str(storage))
    needs = {"cpu": sweep.resources.cpus, "gpu": sweep.resources.gpus}
    function = sampling_trial if sweep.trial.kind == "sampling" else training_trial
    trainable = tune.with_resources(tune.with_parameters(function, subject=subject), needs)
    experiment = storage / EXPERIMENT
    if tune.Tuner.can_restore(str(experiment)):
        tuner = tune.Tuner.restore(str(experiment), trainable=trainable)
    else:
        tuner = _tuner(sweep, trainable, storage, SweepCallback(place, trial_count(sweep)))
    try:
        results = tuner.fit()
    except (KeyboardInterrupt, SystemExit):
        ray.shutdown()  # no trial goes on alone
        raise
    return [_record(results[number], place.key) for number in range(len(results))]


def _tuner(sweep: Sweep, trainable: Any, storage: Path, callback: SweepCallback) -> tune.Tuner:
    return tune.Tuner(
        trainable,
        param_space=param_space(sweep),
        tune_config=tune.TuneConfig(
            metric=callback.place.key,
            mode="min",
            search_alg=search_algorithm(sweep.search, sweep.resources.at_once),
            scheduler=scheduler_of(sweep),
            num_samples=sample_count(sweep.search),
            max_concurrent_trials=sweep.resources.at_once,
            reuse_actors=True,
            trial_dirname_creator=trial_folder,
        ),
        run_config=tune.RunConfig(
            name=EXPERIMENT,
            storage_path=str(storage),
            callbacks=[callback],
            failure_config=tune.FailureConfig(max_failures=0),
            checkpoint_config=tune.CheckpointConfig(num_to_keep=1),
            verbose=0,
        ),
    )


def trial_folder(trial: Trial) -> str:
    """A trial's folder is called by its id alone."""
    return trial.trial_id


def _check_room(sweep: Sweep) -> None:
    there = ray.cluster_resources()
    for kind, wanted in (("CPU", sweep.resources.cpus), ("GPU", sweep.resources.gpus)):
        if wanted > there.get(kind, 0):
            raise UserError(
                f"a trial asks for {wanted:g} {kind}s, the Ray cluster has "
                f"{there.get(kind, 0):g}: lower resources.{kind.lower()}s of the sweep"
            )


def _record(result: tune.Result, key: str) -> Record:
    name = Path(result.path).name
    values, metrics = result.config or {}, result.metrics or {}
    return make_record(name, values, metrics, key, result.error, read_picture(result.checkpoint))
