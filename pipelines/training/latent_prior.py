"""A prior on the latents of a frozen base: the trainings of `compose` of kind latent-prior."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from components.datasets.loading import split_validation
from components.datasets.shards import read_split
from components.errors import UserError
from components.learners.latent_prior import LatentPriorLearner
from components.learners.learner import Learner
from components.learners.mixture import MixtureLearner
from components.models.build import seeded
from components.models.export import load_model, read_story
from components.models.latent_model import LatentModel
from pipelines.runtime.builders import computing_of, open_training_batches
from pipelines.runtime.launch import Place
from pipelines.runtime.loop import stream_seed
from pipelines.runtime.settings import LatentCompose, MixturePrior
from pipelines.runtime.stage import Training
from pipelines.runtime.task import Task
from pipelines.training.entries import FEATURES, MODELS, composition_training
from pipelines.training.latent import optimisation_of, validation_of


def training_of(name: str, settings: LatentCompose) -> Training:
    """An entry's training, resolved.

    Raises:
        UserError: no exported base, or one of another kind.
    """
    described = read_story(MODELS / settings.base)["model"]
    if described["kind"] != "latent":
        raise UserError(
            f"compose.{name}.base: {settings.base} is of kind {described['kind']!r}; a prior "
            "of latents needs a base of kind 'latent'"
        )
    model = {**described, "prior": settings.prior.model_dump(exclude={"rounds"})}
    if settings.select.kind == "last":
        return composition_training(name, settings, model)
    return composition_training(name, settings, model, {"features": FEATURES / settings.data})


def build(description: dict[str, Any], place: Place) -> Task:
    """Make a worker's part of the training (see `pipelines.runtime.launch`)."""
    settings = LatentCompose.model_validate(description["settings"])
    shards, plan = Path(description["shards"]), settings.plan
    model = cast(LatentModel, seeded(description["model"], settings.seed))
    base = load_model(Path(description["base"])).state_dict()
    frozen = {name: value for name, value in base.items() if not name.startswith("prior.")}
    model.load_state_dict(model.state_dict() | frozen)
    computing = computing_of(plan, place)
    learner: Learner
    if isinstance(settings.prior, MixturePrior):
        items = split_validation(read_split(shards, "train"), plan.validation_count)[0].x
        learner = MixtureLearner(model, items, settings.prior.rounds, settings.seed, computing)
    else:
        assert settings.optimiser is not None
        learner = LatentPriorLearner(
            model,
            optimisation_of(settings.optimiser, plan.steps),
            stream_seed(settings.seed, place.rank, 0),
            computing,
        )
    batches = open_training_batches(shards, plan, settings.seed, place)
    return Task(learner, batches, validation_of(settings, description, place, None))
