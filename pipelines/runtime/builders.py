"""From settings to the arguments of components."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from components.datasets.loading import Batches, open_batches
from components.learners.computing import Computing
from components.learners.optimisation import Halving, Schedule
from components.samplers.gradient_flow import FlowSettings
from components.samplers.langevin import LangevinSettings
from pipelines.runtime.launch import Place
from pipelines.runtime.settings import FlowODE, HalvingDecay, Langevin, Optimiser, Plan


def schedule_of(optimiser: Optimiser, steps: int) -> Schedule:
    """The learning rate over a training of so many steps."""
    chosen = optimiser.decay
    decay = Halving(chosen.every) if isinstance(chosen, HalvingDecay) else chosen
    return Schedule(optimiser.learning_rate, optimiser.warmup_steps, decay, steps)


def updater_arguments(optimiser: Optimiser) -> dict[str, Any]:
    """What `components.learners.optimisation.Updater` takes beside network and schedule."""
    return optimiser.model_dump(
        include={"betas", "weight_decay", "clip_deviations", "ema"},
    )


def computing_of(plan: Plan, place: Place) -> Computing:
    """How a worker's arithmetic is carried out."""
    return Computing(
        place.device,
        precision=plan.precision,
        parts=plan.accumulation,
        compile=place.compile,
        pinned=place.pin_memory,
    )


def open_training_batches(shards: Path, plan: Plan, seed: int, place: Place) -> Batches:
    """A worker's batches of the training split, the validation items left out."""
    return open_batches(
        shards,
        "train",
        plan.batch_size,
        seed,
        place.rank,
        place.world_size,
        place.memory_limit_mb * 1_000_000,
        exclude_last=plan.validation_count,
    )


def langevin_of(settings: Langevin) -> LangevinSettings:
    """The chain that the settings describe."""
    return LangevinSettings(
        steps=settings.steps,
        step_size=settings.step_size,
        noise_scale=settings.noise_scale,
        temperature=settings.temperature,
        metropolis=settings.metropolis,
        step_size_max=settings.step_size_max,
        drift_limit=settings.drift_limit,
        autocast="bfloat16" if settings.precision == "bfloat16" else None,
    )


def flow_of(settings: FlowODE | None) -> FlowSettings | None:
    """The ODE and solver that the settings describe; None: the model's own."""
    return None if settings is None else FlowSettings(**settings.model_dump())
