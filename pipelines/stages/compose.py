"""Train a composition on a base: compose.NAME of the settings, to models/NAME.

Reads models/BASE and the shards; chooses the kept checkpoint by the samples that it makes. Writes
models/NAME (base and energy together), metrics/compose/NAME.json, plots/compose/NAME/*.csv.
A killed training goes on from its last checkpoint when the stage is started again.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from components.datasets.loading import split_validation
from components.datasets.shards import read_split
from components.images import quantise
from components.learners.tilting import TiltingLearner, TiltingSettings
from components.metrics.extractors import CLASSIFIER, Classifier, extract_features, load_extractor
from components.metrics.fidelity import frechet_distance
from components.metrics.likelihood import energy_distance
from components.models.build import seeded
from components.models.export import load_model, read_story
from components.models.vae import VAE
from components.models.vaebm import VAEBM
from components.samplers.replay_buffer import ReplayBuffer
from pipelines.judging.references import read_reference
from pipelines.runtime.builders import (
    computing_of,
    langevin_of,
    open_training_batches,
    schedule_of,
    updater_arguments,
)
from pipelines.runtime.cli import run_stage
from pipelines.runtime.launch import Place
from pipelines.runtime.loop import stream_seed
from pipelines.runtime.pictures import picture_of
from pipelines.runtime.settings import Params, VAEBMCompose, entry
from pipelines.runtime.stage import Training, train_and_export
from pipelines.runtime.task import Task, Validation

ROWS = 500
SHOWN = 64


def main(name: str, params: Params) -> None:
    """Run the stage for one entry."""
    train_and_export(training_of(name, params), params)


def training_of(name: str, params: Params) -> Training:
    """An entry's training, resolved.

    Raises:
        UserError: no such entry, or no exported base.
    """
    settings = entry(params.compose, "compose", name)
    base = Path("models") / settings.base
    return Training(
        stage="compose",
        name=name,
        settings=settings,
        plan=settings.plan,
        seed=settings.seed,
        model={
            "kind": settings.kind,
            "base": read_story(base)["model"],
            "energy": settings.energy.model_dump(),
            "space": settings.space,
        },
        inputs={
            "shards": Path("data/shards") / settings.data,
            "base": base,
            "features": Path("models/features") / settings.data,
        },
        target=Path("models") / name,
        tags={
            "dataset": settings.data,
            "family": "composition",
            "kind": settings.kind,
            "base": settings.base,
        },
        chain=langevin_of(settings.langevin),
    )


def build(description: dict[str, Any], place: Place) -> Task:
    """Make a worker's part of the training (see `pipelines.runtime.launch`)."""
    settings = VAEBMCompose.model_validate(description["settings"])
    shards, plan = Path(description["shards"]), settings.plan
    model = cast(VAEBM, seeded(description["model"], settings.seed))
    base = cast(VAE, load_model(Path(description["base"])))
    model.base.load_state_dict(base.state_dict())
    learner = TiltingLearner(
        model,
        _objective(settings),
        schedule_of(settings.optimiser, plan.steps - _warm_steps(settings)),
        updater_arguments(settings.optimiser),
        _replay(settings, base.latent, place.device),
        stream_seed(settings.seed, place.rank, 0),
        computing_of(plan, place),
    )
    batches = open_training_batches(shards, plan, settings.seed, place)
    return Task(learner, batches, _validation(settings, description, place))


def _objective(settings: VAEBMCompose) -> TiltingSettings:
    warm = settings.warm_start
    return TiltingSettings(
        langevin=langevin_of(settings.langevin),
        energy_magnitude=settings.energy_magnitude,
        spectral_penalty=settings.spectral_penalty,
        warm_start_steps=_warm_steps(settings),
        warm_start_rate=warm.learning_rate if warm else settings.optimiser.learning_rate,
        warm_start_normaliser=warm is not None and warm.normaliser,
        max_gap=settings.max_gap,
    )


def _warm_steps(settings: VAEBMCompose) -> int:
    return settings.warm_start.steps if settings.warm_start else 0


def _replay(settings: VAEBMCompose, latent: int, device: torch.device) -> ReplayBuffer | None:
    replay = settings.replay
    if replay is None:
        return None
    return ReplayBuffer(replay.size, (latent,), replay.probability, replay.anneal_steps, device)


def _validation(
    settings: VAEBMCompose, description: dict[str, Any], place: Place
) -> Callable[[nn.Module, int], Validation]:
    """Draw a few samples by the training's chain and measure how far they are from data."""
    select, chain = settings.select, langevin_of(settings.langevin)
    measure = _distance(settings, description, place)
    count = SHOWN if select.kind == "last" else select.count

    def validate(model: nn.Module, step: int) -> Validation:
        generator = torch.Generator(place.device).manual_seed(settings.seed)
        vaebm = cast(VAEBM, model)
        sizes = [min(ROWS, count - first) for first in range(0, count, ROWS)]
        items = torch.cat([vaebm.sample(size, generator, chain).items for size in sizes])
        metrics = measure(items)
        score = next(iter(metrics.values())) if metrics else None
        return Validation(metrics, score, picture_of(items[:SHOWN]))

    return validate


def _distance(
    settings: VAEBMCompose, description: dict[str, Any], place: Place
) -> Callable[[Tensor], dict[str, float]]:
    features = Path(description["features"])
    select = settings.select
    match select.kind:
        case "last":
            return lambda items: {}
        case "frechet":
            judge = select.extractor
            own = cast(Classifier, load_model(features)) if judge == CLASSIFIER else None
            extractor = load_extractor(judge, classifier=own, device=place.device)
            real = read_reference(features, judge, "train").features

            def frechet(items: Tensor) -> dict[str, float]:
                found = extract_features(quantise(items), extractor, ROWS).features
                return {f"validation_frechet_{judge}": frechet_distance(found, real)}

            return frechet
        case "energy-distance":
            train = read_split(Path(description["shards"]), "train")
            held_out = split_validation(train, settings.plan.validation_count)[1].x
            return lambda items: {
                "validation_energy_distance": energy_distance(items.cpu(), held_out)
            }


if __name__ == "__main__":
    run_stage(__doc__, main)
