"""Judge a denoising model: distances, modes, cost, and what is guessed on the way (chapter 6)."""

from __future__ import annotations

import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from components.datasets.shards import read_split
from components.datasets.toy import density
from components.errors import UserError
from components.images import quantise
from components.metrics.extractors import CLASSIFIER
from components.metrics.stacked import classes_of, stacked_coverage
from components.models.denoising_gan import DenoisingGAN
from components.models.export import load_model, read_story
from components.networks.classifier import StackedClassifier
from components.plots.densities import scatter_panels
from components.plots.grids import enlargement, image_grid, save_png
from components.plots.rows import interpolation_grid
from pipelines.judging.distances import SEED, judge_distances, read_draws
from pipelines.judging.guesses import guess_grid
from pipelines.judging.modes import mode_figures, over_draws, scarcest_figures
from pipelines.runtime.settings import (
    DenoisingImageEvaluate,
    DenoisingPointEvaluate,
    DenoisingSample,
)
from pipelines.sampling.denoising import denoised

SHOWN, COLUMNS = 100, 10
POINTS_SHOWN = 5000
RUNS = 5
PATIENCE = 20.0
"""Seconds after which no further run of the clock begins."""


def judge_denoised_images(
    model: nn.Module,
    settings: DenoisingImageEvaluate,
    samples: Path,
    folder: Path,
    numbers: Path,
) -> dict[str, Any]:
    """All figures of a denoising model of images, and its pictures.

    Args:
        model: of `pipelines.sampling.denoising.DENOISING`.
        settings: the entry of params.yaml.
        samples: folder of the draws.
        folder: where pictures go: samples, path, guesses.
        numbers: where the counts of modes behind them go.

    Returns:
        Flat figures: those of `judge_distances`, of stacked digits ``modes`` and ``mode_kl`` with
        their deviations, and ``sampling_seconds`` of ``timing_count`` images.

    Raises:
        UserError: guesses of another model than a denoising GAN that has an x_0.
    """
    device = next(model.parameters()).device
    draws = read_draws(samples)
    shown = draws[0][:SHOWN]
    save_png(image_grid(shown, COLUMNS, enlargement(shown.shape[-1])), folder / "samples.png")
    figures = judge_distances(draws, settings.data, settings, device, settings.precision_recall)
    if CLASSIFIER in settings.extractors:
        figures |= _stacked(draws, settings.data, device, numbers)
    figures |= _cost(samples, model, settings.timing_count)
    times = json.loads((samples / "sampling.json").read_text())["chain_steps"]
    if times:
        states = np.load(samples / "path.npy")
        lines = quantise(torch.from_numpy(states)).transpose(0, 1).numpy()
        save_png(interpolation_grid(lines, enlargement(lines.shape[-1])), folder / "path.png")
    if settings.guesses is not None:
        if not isinstance(model, DenoisingGAN):
            raise UserError("guesses of x_0 are drawn by a denoising GAN: set guesses to null")
        images = read_split(Path("data/shards") / settings.data, "test").x
        wanted = settings.guesses
        grid = guess_grid(model, images[: wanted.images], wanted.draws, SEED)
        save_png(grid, folder / "guesses.png")
    return figures


def judge_denoised_points(
    model: nn.Module,
    settings: DenoisingPointEvaluate,
    samples: Path,
    folder: Path,
    numbers: Path,
) -> dict[str, Any]:
    """All figures of a denoising model of points, and its picture (Figure 6.9).

    Args:
        model: of `pipelines.sampling.denoising.DENOISING`.
        settings: the entry of params.yaml.
        samples: folder of the draws.
        folder: where the picture goes.
        numbers: where the points that are shown go.

    Returns:
        Flat figures: those of `mode_figures` and `scarcest_figures`, the truth's own as
        ``KEY_true``, and ``sampling_seconds``.
    """
    truth = density(settings.data)
    draws = [torch.from_numpy(np.load(file)) for file in sorted(samples.glob("draw-*.npy"))]
    test = read_split(Path("data/shards") / settings.data, "test").x[: len(draws[0])]
    figures: dict[str, Any] = {"count": len(draws[0]), "draws": len(draws)}
    figures |= mode_figures(draws, truth, settings.mode_radius) | scarcest_figures(draws, truth)
    own = mode_figures([test], truth, settings.mode_radius) | scarcest_figures([test], truth)
    figures |= {f"{key}_true": value for key, value in own.items()}
    figures |= _cost(samples, model, settings.timing_count)
    shown = {"data": test[:POINTS_SHOWN].numpy(), "samples": draws[0][:POINTS_SHOWN].numpy()}
    np.savez_compressed(numbers / "points.npz", samples=shown["samples"])
    scatter_panels(shown, settings.extent).savefig(folder / "samples.png")
    return figures


def _stacked(
    draws: list[Tensor], data: str, device: torch.device, numbers: Path
) -> dict[str, float]:
    """Modes of stacked digits; nothing for other data."""
    folder = Path("models/features") / data
    if read_story(folder)["model"]["kind"] != "stacked-classifier":
        return {}
    classifier = load_model(folder, device)
    assert isinstance(classifier, StackedClassifier)
    read, rows = [], []
    for draw in draws:
        classes, count = classes_of(classifier, draw)
        read.append(classes.numpy())
        rows.append(stacked_coverage(classes, count)._asdict())
    np.savez_compressed(numbers / "classes.npz", classes=np.stack(read))
    return over_draws(rows)


def _cost(samples: Path, model: nn.Module, count: int) -> dict[str, float]:
    """Seconds in which a batch is drawn as the samples were: the median of some runs."""
    told = json.loads((samples / "sampling.json").read_text())["settings"]
    settings = DenoisingSample.model_validate(told)
    generator = torch.Generator(next(model.parameters()).device).manual_seed(SEED)
    seconds: list[float] = []
    begun = time.monotonic()
    while len(seconds) < RUNS and (not seconds or time.monotonic() - begun < PATIENCE):
        start = time.perf_counter()
        denoised(model, settings, count, generator).items.cpu()
        seconds.append(time.perf_counter() - start)
    # The first run warms caches.
    return {"sampling_seconds": statistics.median(seconds[1:] or seconds), "sampled_count": count}
