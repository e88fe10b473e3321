"""An auto-encoder with or without a prior: the trainings of `pretrain` of kind latent."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from components.datasets.loading import split_validation
from components.datasets.shards import Manifest, read_split
from components.learners.latent import Adversary, LatentLearner, LatentObjective
from components.learners.learner import as_model_input
from components.learners.optimisation import Optimisation
from components.learners.reconstruction import (
    Perceptual,
    Reconstruction,
    bernoulli,
    classifier_features,
    squared,
    vgg_features,
)
from components.learners.wasserstein import LatentDiscriminator
from components.models.build import Description, seeded
from components.models.export import load_model
from components.models.latent_model import LatentModel
from components.models.latent_priors import LatentVAE
from components.networks.classifier import Classifier
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
    GANPenalty,
    LatentCompose,
    LatentPretrain,
    Optimiser,
    PerceptualReconstruction,
)
from pipelines.runtime.stage import Training
from pipelines.runtime.task import Task, Validation
from pipelines.training.entries import FEATURES, SHARDS, base_training
from pipelines.training.selection import SHOWN, measure_of, samples_wanted

ROWS = 1000


def training_of(name: str, settings: LatentPretrain) -> Training:
    """An entry's training, resolved.

    Raises:
        UserError: no shards.
    """
    model = describe(settings, Manifest.load(SHARDS / settings.data))
    loss = settings.reconstruction
    judged = isinstance(loss, PerceptualReconstruction) and loss.features == "classifier"
    if judged or settings.select.kind != "last":
        return base_training(name, settings, model, {"features": FEATURES / settings.data})
    return base_training(name, settings, model)


def describe(settings: LatentPretrain, manifest: Manifest) -> Description:
    """What `components.models.build` needs to make the model."""
    return {
        "kind": settings.kind,
        "shape": list(manifest.shape),
        **settings.model_dump(include={"network", "latent", "posterior", "prior"}),
    }


def build(description: dict[str, Any], place: Place) -> Task:
    """Make a worker's part of the training (see `pipelines.runtime.launch`)."""
    settings = LatentPretrain.model_validate(description["settings"])
    shards, plan, penalty = Path(description["shards"]), settings.plan, settings.penalty
    loss = _reconstruction(settings, description, place.device)
    weight = settings.reconstruction.weight
    prior = settings.prior_optimiser
    learner = LatentLearner(
        cast(LatentModel, seeded(description["model"], settings.seed)),
        LatentObjective(
            reconstruction=loss,
            weight=None if weight == "learned" else weight,
            stop_gradient=settings.stop_gradient,
            penalty=penalty.kind,
            penalty_weight=0.0 if penalty.kind == "none" else penalty.weight,
        ),
        optimisation_of(settings.optimiser, plan.steps),
        None if prior is None else optimisation_of(prior, plan.steps),
        _adversary(penalty, settings) if isinstance(penalty, GANPenalty) else None,
        stream_seed(settings.seed, place.rank, 0),
        computing_of(plan, place),
    )
    batches = open_training_batches(shards, plan, settings.seed, place)
    return Task(learner, batches, validation_of(settings, description, place, loss))


def optimisation_of(optimiser: Optimiser, steps: int) -> Optimisation:
    """Adam and its schedule over a training of so many steps."""
    return Optimisation(schedule_of(optimiser, steps), updater_arguments(optimiser))


def validation_of(
    settings: LatentPretrain | LatentCompose,
    description: dict[str, Any],
    place: Place,
    reconstruction: Reconstruction | None,
) -> Callable[[nn.Module, int], Validation]:
    """Judge by held-out items, and by samples if there is a prior to draw them from.

    Args:
        settings: of the training.
        description: of the job.
        place: of the worker.
        reconstruction: the loss to report of held-out items; None where decoder and encoder are
            frozen.
    """
    plan, select, device = settings.plan, settings.select, place.device
    split = read_split(Path(description["shards"]), "train")
    held_out = split_validation(split, plan.validation_count)[1].x
    measure = measure_of(select, plan, description, device)

    @torch.no_grad()
    def validate(model: nn.Module, step: int) -> Validation:
        latent = cast(LatentModel, model)
        generator = torch.Generator(device).manual_seed(settings.seed)
        rows: dict[str, list[Tensor]] = {}
        for part in held_out.split(ROWS):
            x = as_model_input(part, device)
            z = latent.posterior_sample(x, generator).z
            if reconstruction is not None:
                loss = reconstruction(x, latent.decode(z))
                rows.setdefault("validation_reconstruction", []).append(loss)
            if latent.prior is not None:
                nll = _negative_log_prior(latent, z, generator)
                rows.setdefault("validation_nll", []).append(nll)
        metrics = {name: torch.cat(values).mean().item() for name, values in rows.items()}
        if latent.prior is None:
            shown = latent.reconstruct(as_model_input(held_out[:SHOWN], device))
            return Validation(metrics, picture=picture_of(shown))
        items = latent.sample(samples_wanted(select), generator)
        distance = measure(items)
        score = next(iter(distance.values()), None)
        return Validation(metrics | distance, score, picture_of(items[:SHOWN]))

    return validate


def _negative_log_prior(model: LatentModel, z: Tensor, generator: torch.Generator) -> Tensor:
    """−log p(z), nats, N; of a second VAE its bound."""
    if isinstance(model.prior, LatentVAE):
        return -model.prior.bound(z, generator).elbo
    return -model.log_prior(z)


def _adversary(penalty: GANPenalty, settings: LatentPretrain) -> Adversary:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        network = LatentDiscriminator(settings.latent, penalty.hidden)
    return Adversary(network, optimisation_of(penalty.optimiser, settings.plan.steps))


def _reconstruction(
    settings: LatentPretrain, description: dict[str, Any], device: torch.device
) -> Reconstruction:
    loss = settings.reconstruction
    if not isinstance(loss, PerceptualReconstruction):
        return squared if loss.kind == "squared" else bernoulli
    if loss.features == "vgg":
        weights = None if loss.vgg_weights is None else Path(loss.vgg_weights)
        return Perceptual(vgg_features(weights).to(device))
    own = cast(Classifier, load_model(Path(description["features"])))
    return Perceptual(classifier_features(own).to(device))
