"""What a trial does, in a process of Ray Tune: sample or train by its values, report the metric."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError
from ray import tune

from components.errors import DivergedError, UserError
from components.images import to_unit
from components.models.export import load_model
from components.plots.grids import Pixels, save_png
from pipelines.judging.held_out import held_out_distance, held_out_key
from pipelines.runtime.checkpoints import FolderStore
from pipelines.runtime.cli import quieten_libraries
from pipelines.runtime.launch import Place, plain, work
from pipelines.runtime.loop import Outcome
from pipelines.runtime.pictures import picture_of
from pipelines.runtime.progress import SilentReporter
from pipelines.runtime.settings import (
    Compose,
    DDPMPretrain,
    DenoisingGANPretrain,
    DenoisingSample,
    Params,
    Pretrain,
    ShortRunPretrain,
    Sweep,
    VAEBMCompose,
    entry,
)
from pipelines.runtime.settings.base import one_line
from pipelines.runtime.settings.paths import Content, replaced
from pipelines.runtime.stage import job_of
from pipelines.stages import compose, pretrain
from pipelines.stages.sample import draw_items, network_evaluations
from pipelines.sweeps.space import STEP
from pipelines.training.selection import VALIDATION_NFE

PICTURE = "samples.png"
NFE, SECONDS, COMPLETE = "nfe", "seconds", "complete"
SHOWN = 64


@dataclass(frozen=True)
class Subject:
    """A sweep as plain values, the same for all its trials.

    Attributes:
        name: of the sweep.
        root: absolute path of the project's folder.
        params: the whole settings.
        storage: absolute path for the trainings' checkpoints.
    """

    name: str
    root: str
    params: Content
    storage: str

    def of_trial(self, values: Mapping[str, Any]) -> Params:
        """The settings of a trial.

        Raises:
            UserError: there is no such setting, or a value is not allowed there.
        """
        fixed = self.params["sweeps"][self.name]["fixed"]
        content = replaced(self.params, {**fixed, **values})
        try:
            return Params.model_validate(content)
        except ValidationError as error:
            raise UserError(one_line(error, "trial", content)) from None


def sampling_trial(values: dict[str, Any], subject: Subject) -> None:
    """Sample the model by the trial's settings and judge each draw on held-out items."""
    params, sweep, device = _begin(values, subject)
    assert sweep.trial.kind == "sampling"
    settings = entry(params.sample, "sample", sweep.model).model_copy(
        update={"count": sweep.judge.count, "draws": sweep.trial.draws}
    )
    model = load_model(Path("models") / sweep.reads, device)
    distance = held_out_distance(sweep.judge, sweep.data, _held_out(params, sweep), device)
    found, seconds, picture = [], 0.0, None
    for draw in range(settings.draws):
        began = time.monotonic()
        items, _ = draw_items(model, settings, draw, device)
        seconds += time.monotonic() - began
        found.append(distance(items))
        if picture is None:
            shown = items[:SHOWN]
            picture = picture_of(to_unit(shown) if shown.dim() == 4 else shown)
    key = held_out_key(sweep.judge)
    figures = {key: fmean(found), NFE: network_evaluations(model, settings), SECONDS: seconds}
    if len(found) > 1:
        figures[f"{key}_std"] = stdev(found)
    _report({**figures, STEP: 1, COMPLETE: True}, picture)


def training_trial(values: dict[str, Any], subject: Subject) -> None:
    """Train the model by the trial's settings, through the loop that the stage uses.

    Raises:
        DivergedError: no rollback cured a divergence.
    """
    params, sweep, device = _begin(values, subject)
    # The judge chooses the kept checkpoint too, so that the figure is that of an exported model.
    section = section_of(sweep, params)
    trained = entry(getattr(params, section), section, sweep.model)
    settings = trained.model_copy(update={"select": sweep.judge})
    chosen = params.model_copy(update={section: {sweep.model: settings}})
    stage = compose if section == "compose" else pretrain
    job = job_of(stage.training_of(sweep.model, chosen))
    store = FolderStore(Path(subject.storage) / job.run_name)
    reporter = TuneReporter(held_out_key(sweep.judge), {NFE: _evaluations(settings)})
    place = Place.of(params.runtime, 0, 1, device)
    work(plain(job), place, store, reporter)
    final = store.load()
    assert final is not None
    outcome = Outcome(**final["outcome"])
    if not outcome.finished:
        (step, reason), rolled = outcome.rollbacks[-1], len(outcome.rollbacks) - 1
        raise DivergedError(
            f"training diverged at step {step} ({reason}), after {rolled} "
            f"rollback{'s' * (rolled != 1)}"
        )
    assert outcome.kept_score is not None
    reporter.report(outcome.step, outcome.kept_score, complete=True)


class TuneReporter(SilentReporter):
    """Tells Tune of each validation; waits until Tune has decided whether the trial goes on.

    Args:
        key: of the metric among the validation's.
        facts: figures of the trial that are known before it.
    """

    def __init__(self, key: str, facts: Mapping[str, float]) -> None:
        self.key, self.facts = key, facts
        self.image: Pixels | None = None
        self.began = time.monotonic()

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        if VALIDATION_NFE in values:
            self.facts = {**self.facts, NFE: int(values[VALIDATION_NFE])}
        if self.key in values and np.isfinite(values[self.key]):
            self.report(step, values[self.key], complete=False)

    def picture(self, step: int, name: str, image: Pixels) -> None:
        self.image = image

    def report(self, step: int, value: float, complete: bool) -> None:
        """Report a value of the metric, with the newest picture."""
        seconds = time.monotonic() - self.began
        figures = {self.key: value, STEP: step, SECONDS: seconds, COMPLETE: complete}
        _report({**self.facts, **figures}, self.image)


def section_of(sweep: Sweep, params: Params) -> str:
    """The section of the settings that a sweep's trials read their model's entry from."""
    if sweep.trial.kind == "sampling":
        return "sample"
    return "compose" if sweep.model in params.compose else "pretrain"


def source_of(sweep: Sweep, params: Params) -> str:
    """The model that a sweep is of: several entries of `sample` may draw from one model."""
    drawn = params.sample.get(sweep.model) if sweep.trial.kind == "sampling" else None
    return drawn.model if isinstance(drawn, DenoisingSample) else sweep.model


def _evaluations(settings: Pretrain | Compose) -> int:
    """Network evaluations behind a sample of validation: a chain's or a diffusion's steps, or one.

    Those of an ODE are not known before: a flow's validations tell.
    """
    if isinstance(settings, VAEBMCompose | ShortRunPretrain):
        return settings.langevin.steps
    if isinstance(settings, DenoisingGANPretrain):
        return settings.diffusion.steps
    if isinstance(settings, DDPMPretrain) and settings.sampler.kind == "ddim":
        return settings.sampler.steps
    if isinstance(settings, DDPMPretrain) and settings.sampler.kind == "ancestral":
        return settings.diffusion.steps
    return 1


def _begin(values: Mapping[str, Any], subject: Subject) -> tuple[Params, Sweep, torch.device]:
    os.chdir(subject.root)
    quieten_libraries()
    params = subject.of_trial(values)
    sweep = entry(params.sweeps, "sweeps", subject.name)
    torch.set_num_threads(sweep.resources.cpus)
    return params, sweep, torch.device("cuda" if sweep.resources.gpus else "cpu")


def _held_out(params: Params, sweep: Sweep) -> int:
    """How many items the model's training left out."""
    models: dict[str, Pretrain | Compose] = {**params.pretrain, **params.compose}
    return entry(models, "pretrain or compose", source_of(sweep, params)).plan.validation_count


def _report(figures: Mapping[str, Any], picture: Pixels | None) -> None:
    if picture is None:
        tune.report(dict(figures))
        return
    with tempfile.TemporaryDirectory() as folder:
        save_png(picture, Path(folder) / PICTURE)
        tune.report(dict(figures), checkpoint=tune.Checkpoint.from_directory(folder))
