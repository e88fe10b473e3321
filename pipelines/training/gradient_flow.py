"""The energy of a gradient flow: the trainings of `pretrain` of kind gradient-flow."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from components.datasets.loading import split_validation
from components.datasets.shards import Manifest, read_split
from components.errors import UserError
from components.learners.gradient_flow import FlowLearning, GradientFlowLearner
from components.learners.learner import as_model_input
from components.models.build import Description, seeded
from components.models.gradient_flow import GradientFlow
from components.samplers.frozen import frozen
from components.samplers.gradient_flow import FlowError, push
from pipelines.runtime.builders import (
    computing_of,
    open_training_batches,
    schedule_of,
    updater_arguments,
)
from pipelines.runtime.launch import Place
from pipelines.runtime.loop import stream_seed
from pipelines.runtime.pictures import picture_of
from pipelines.runtime.settings import (
    EnergyDistanceSelect,
    EnergyObjective,
    EqualSteps,
    FlowPretrain,
    LikelihoodSelect,
)
from pipelines.runtime.stage import Training
from pipelines.runtime.task import Task, Validation
from pipelines.training.entries import SHARDS, base_training
from pipelines.training.selection import VALIDATION_NFE, measure_of

SHOWN = 2000


def training_of(name: str, settings: FlowPretrain) -> Training:
    """An entry's training, resolved.

    Raises:
        UserError: no shards, or shards of images.
    """
    return base_training(name, settings, describe(settings, Manifest.load(SHARDS / settings.data)))


def describe(settings: FlowPretrain, manifest: Manifest) -> Description:
    """What `components.models.build` needs to make the model.

    Raises:
        UserError: a fully connected energy of items that are not points.
    """
    if len(manifest.shape) != 1:
        raise UserError(
            f"kind {settings.kind} has an energy of points, and {settings.data} has items of shape "
            f"{tuple(manifest.shape)}"
        )
    return {
        "kind": settings.kind,
        "shape": list(manifest.shape),
        "energy": settings.energy.model_dump(),
        "flow": settings.flow.model_dump(),
    }


def build(description: dict[str, Any], place: Place) -> Task:
    """Make a worker's part of the training (see `pipelines.runtime.launch`)."""
    settings = FlowPretrain.model_validate(description["settings"])
    shards, plan = Path(description["shards"]), settings.plan
    learner = GradientFlowLearner(
        cast(GradientFlow, seeded(description["model"], settings.seed)),
        learning_of(settings),
        schedule_of(settings.optimiser, plan.steps),
        updater_arguments(settings.optimiser),
        stream_seed(settings.seed, place.rank, 0),
        computing_of(plan, place),
    )
    batches = open_training_batches(shards, plan, settings.seed, place)
    return Task(learner, batches, validation_of(settings, description, place))


def learning_of(settings: FlowPretrain) -> FlowLearning:
    """What the learner is governed by."""
    objective, solver = settings.objective, settings.solver
    equal_steps = solver.steps if isinstance(solver, EqualSteps) else None
    tolerance = None if isinstance(solver, EqualSteps) else solver.tolerance
    if isinstance(objective, EnergyObjective):
        return FlowLearning(
            "energy", "direct", 0, objective.max_gap, tolerance, equal_steps, gamma=objective.gamma
        )
    return FlowLearning(
        "likelihood",
        objective.backward,
        objective.probes,
        math.inf,
        tolerance,
        equal_steps,
        max_nll=objective.max_nll,
    )


def validation_of(
    settings: FlowPretrain, description: dict[str, Any], place: Place
) -> Callable[[nn.Module, int], Validation]:
    """Judge by the likelihood of held-out points, or by the distance of samples from them."""
    select, device = settings.select, place.device

    @torch.no_grad()
    def validate(model: nn.Module, step: int) -> Validation:
        flow = cast(GradientFlow, model)
        generator = torch.Generator(device).manual_seed(settings.seed)
        try:
            with frozen(flow.energy):
                noise = flow.noise(wanted, generator)
                items, nfe = push(flow.energy, noise, flow.settings)
            metrics = judge(flow, items)
        except FlowError:
            # A flow that cannot be solved is not to be kept; its training may yet go on.
            return Validation({})
        score = next(iter(metrics.values()), None)
        # It grows as the energy grows steeper, which the equal steps of training do not show.
        metrics = metrics | {VALIDATION_NFE: float(nfe)}
        return Validation(metrics, score, picture_of(items[:SHOWN]))

    if isinstance(select, LikelihoodSelect):
        train = read_split(Path(description["shards"]), "train")
        held_out = split_validation(train, settings.plan.validation_count)[1].x[: select.count]
        x, wanted = as_model_input(held_out, device), SHOWN

        def judge(flow: GradientFlow, items: Tensor) -> dict[str, float]:
            return {"validation_nll": -flow.log_prob(x).mean().item()}

    else:
        measure = measure_of(select, settings.plan, description, device)
        wanted = select.count if isinstance(select, EnergyDistanceSelect) else SHOWN

        def judge(flow: GradientFlow, items: Tensor) -> dict[str, float]:
            return measure(items)

    return validate
