"""Judge a model of images: distances from data, detection of what is not data."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from components.datasets.shards import read_split
from components.errors import UserError
from components.images import as_rgb, quantise, resize, to_unit
from components.learners.learner import as_model_input
from components.metrics.ood import ood_scores, probes
from components.models.vae import VAE
from components.models.vaebm import VAEBM
from components.plots.grids import image_grid, save_png
from components.plots.histograms import score_histogram
from pipelines.judging.chains import judge_chains, vaebm_chains
from pipelines.judging.distances import SEED, judge_distances, read_draws
from pipelines.runtime.settings import ImageEvaluate, ImageFeatures

ROWS = 500
SHOWN, COLUMNS = 100, 10


def judge_images(
    model: nn.Module,
    settings: ImageEvaluate,
    features: ImageFeatures,
    samples: Path,
    folder: Path,
    numbers: Path,
) -> dict[str, Any]:
    """All figures of a model of images, and its pictures.

    Args:
        model: `VAE` or `VAEBM`.
        settings: the entry of params.yaml.
        features: the data set's entry of the features section.
        samples: folder of the draws, which has the model's name.
        folder: where pictures go.
        numbers: where the scores behind them go.

    Returns:
        Flat figures.

    Raises:
        UserError: a diagnosis is asked for of a model that has no chains.
    """
    device = next(model.parameters()).device
    mixing = _longer_chains(model, settings, samples.name, folder, numbers)
    draws = read_draws(samples)
    figures = mixing | judge_distances(draws, settings.data, features, device)
    scores = _log_densities(model, settings, device)
    figures |= _detection(scores, model, settings)
    arrays: dict[str, Any] = {name: score.numpy() for name, score in scores.items()}
    np.savez(numbers / "ood.npz", **arrays)
    train_and_test = {name: scores[name].numpy() for name in ("train", "test")}
    score_histogram(train_and_test, "log p(x) + constant, nats").savefig(folder / "likelihood.png")
    others = {name: score.numpy() for name, score in scores.items() if name != "train"}
    score_histogram(others, "log p(x) + constant, nats").savefig(folder / "ood.png")
    save_png(image_grid(draws[0][:SHOWN], COLUMNS), folder / "samples.png")
    return figures


def _longer_chains(
    model: nn.Module, settings: ImageEvaluate, name: str, folder: Path, numbers: Path
) -> dict[str, Any]:
    """What a composition's chains do when they are run on, if that is asked for."""
    if settings.diagnosis is None:
        return {}
    if not isinstance(model, VAEBM):
        raise UserError(f"{name} has no chains: set evaluate.{name}.diagnosis to null")
    chains = vaebm_chains(model, Path("models") / name)
    device = next(model.parameters()).device
    return judge_chains(chains, settings.diagnosis, folder, numbers, device)


def _log_densities(
    model: nn.Module, settings: ImageEvaluate, device: torch.device
) -> dict[str, Tensor]:
    """log p(x) up to a constant of the data's images and of what is none of it."""
    shards = Path("data/shards")
    test = read_split(shards / settings.data, "test").x[: settings.ood_count]
    sets = {
        "test": test,
        "train": read_split(shards / settings.data, "train").x[: settings.ood_count],
    }
    for name in (settings.outsiders.near, settings.outsiders.far):
        other = read_split(shards / name, "test").x[: settings.ood_count]
        sets[name] = like(other, test)
    sets |= probes(test, torch.Generator().manual_seed(SEED))
    bounded = cast(VAE | VAEBM, model)
    generator = torch.Generator(device).manual_seed(SEED)
    return {
        name: torch.cat(
            [
                bounded.log_prob_bound(
                    as_model_input(part, device), settings.bound_samples, generator
                ).cpu()
                for part in images.split(ROWS)
            ]
        )
        for name, images in sets.items()
    }


def _detection(
    scores: dict[str, Tensor], model: nn.Module, settings: ImageEvaluate
) -> dict[str, Any]:
    energy = " - f(x)" if isinstance(model, VAEBM) else ""
    figures: dict[str, Any] = {
        "ood_positive": "in-distribution test images",
        "ood_score": f"log p_vae(x){energy} + constant, bound of K = {settings.bound_samples}",
        "ood_count": settings.ood_count,
    }
    for name in scores.keys() - {"test", "train"}:
        found = ood_scores(scores["test"], scores[name])
        figures |= {f"{key}_{name}": found[key] for key in ("auroc", "aupr", "fpr95")}
        figures[f"ood_count_{name}"] = found["out_count"]
    return dict(sorted(figures.items()))


def like(images: Tensor, model: Tensor) -> Tensor:
    """Images in the shape of others: resized, grey repeated or colours averaged; uint8 N×C×H×W."""
    moved = resize(to_unit(images), model.shape[-1])
    if model.shape[1] == 1:
        moved = moved.mean(dim=1, keepdim=True)
    return quantise(as_rgb(moved) if model.shape[1] == 3 else moved)
