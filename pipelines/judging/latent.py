"""Judge a model with a law of its latents: samples, reconstructions, latents (chapter 3)."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from components.datasets.shards import read_split
from components.errors import UserError
from components.images import quantise
from components.learners.learner import as_model_input
from components.metrics.neighbours import nearest_neighbours
from components.models.latent_model import LatentModel, entropy_figure, posterior_entropy
from components.models.latent_priors import LatentVAE, MixturePrior
from components.plots.grids import Pixels, image_grid, save_png
from components.plots.rows import (
    interpolation_grid,
    neighbour_grid,
    reconstruction_grid,
    straight_lines,
)
from pipelines.judging.distances import SEED, judge_distances, read_draws
from pipelines.runtime.settings import Interpolation, LatentEvaluate

ROWS = 500
SHOWN, COLUMNS = 100, 10
RECONSTRUCTED = 30


class Latents(NamedTuple):
    """What the encoder makes of N test images, on the CPU.

    Attributes:
        z: draws from q(z|x), N×L.
        log_variance: log σ² of the Gaussian posterior, N×L; None for a point.
        nll: −log p(z), nats, N; None where the prior's density is not known.
        squared_errors: mean over an image's pixels of (x − x̂)², N; x̂ from the mean of q(z|x).
    """

    z: Tensor
    log_variance: Tensor | None
    nll: Tensor | None
    squared_errors: Tensor


def judge_latent(
    model: nn.Module, settings: LatentEvaluate, samples: Path, folder: Path, numbers: Path
) -> dict[str, Any]:
    """All figures of a model of images with latents, and its pictures.

    Args:
        model: a `LatentModel`, in evaluation mode.
        settings: the entry of params.yaml.
        samples: folder of the draws.
        folder: where pictures go: samples, reconstructions, interpolations, neighbours.
        numbers: where the latents and the neighbours behind them go.

    Returns:
        Flat figures.

    Raises:
        UserError: a model of another kind.
    """
    if not isinstance(model, LatentModel):
        raise UserError("evaluate of kind latent-images judges latent models: use kind images")
    device = next(model.parameters()).device
    draws = read_draws(samples)
    figures = judge_distances(draws, settings.data, settings, device, settings.precision_recall)
    shards = Path("data/shards") / settings.data
    test = read_split(shards, "test").x[: settings.latent_count]
    latents = encoded(model, test, torch.Generator(device).manual_seed(SEED))
    figures |= latent_figures(latents)
    save_png(image_grid(draws[0][:SHOWN], COLUMNS), folder / "samples.png")
    save_png(_reconstructions(model, test), folder / "reconstructions.png")
    generator = torch.Generator(device).manual_seed(SEED)
    lines = interpolated(model, settings.interpolations, generator)
    save_png(interpolation_grid(lines), folder / "interpolations.png")
    train = read_split(shards, "train").x
    shown = draws[0][: settings.neighbours.samples]
    found = nearest_neighbours(shown, train, settings.neighbours.nearest)
    save_png(neighbour_grid(shown, train[found.indices]), folder / "neighbours.png")
    figures["neighbour_distance"] = found.distances[:, 0].mean().item()
    arrays = {"z": latents.z, "neighbours": found.indices, "distances": found.distances}
    arrays |= {} if latents.nll is None else {"nll": latents.nll}
    # A dictionary of Any: NumPy's own keyword is no name of an array.
    kept: dict[str, Any] = {name: array.numpy() for name, array in arrays.items()}
    np.savez(numbers / "latents.npz", **kept)
    return figures


@torch.no_grad()
def encoded(model: LatentModel, images: Tensor, generator: torch.Generator) -> Latents:
    """Encode and reconstruct images.

    Args:
        model: whose latents are wanted.
        images: uint8, N×C×H×W.
        generator: of the posterior's noise, on the model's device.
    """
    known = model.prior is not None and not isinstance(model.prior, LatentVAE)
    rows: list[Latents] = []
    for part in images.split(ROWS):
        x = as_model_input(part, generator.device)
        drawn = model.posterior_sample(x, generator)
        spread = drawn.log_variance
        rows.append(
            Latents(
                drawn.z.cpu(),
                None if spread is None else spread.cpu(),
                -model.log_prior(drawn.z).cpu() if known else None,
                (x - model.reconstruct(x)).square().flatten(1).mean(dim=1).cpu(),
            )
        )
    z, log_variance, nll, errors = (_joined(parts) for parts in zip(*rows, strict=True))
    assert z is not None and errors is not None
    return Latents(z, log_variance, nll, errors)


def latent_figures(latents: Latents) -> dict[str, float]:
    """Means over the test images.

    Returns:
        ``reconstruction_mse``, of pixels in [0, 1]; ``latent_scale``, the root of the latents'
        variance over images, averaged over dimensions; ``latent_nll`` in nats and
        ``latent_bits_per_dim``; of a Gaussian posterior ``posterior_entropy_figure`` (that of
        Figure 3.6), ``posterior_entropy`` in nats and ``posterior_variance``.
    """
    z = latents.z.double()
    figures: dict[str, float] = {
        "latent_count": len(z),
        "reconstruction_mse": latents.squared_errors.double().mean().item(),
        "latent_scale": z.var(dim=0, correction=0).mean().sqrt().item(),
    }
    if latents.nll is not None:
        nll = latents.nll.double().mean().item()
        figures["latent_nll"] = nll
        figures["latent_bits_per_dim"] = nll / (z.shape[1] * math.log(2.0))
    if latents.log_variance is not None:
        spread = latents.log_variance.double()
        figures["posterior_entropy_figure"] = entropy_figure(spread).mean().item()
        figures["posterior_entropy"] = posterior_entropy(spread).mean().item()
        figures["posterior_variance"] = spread.exp().mean().item()
    return figures


@torch.no_grad()
def interpolated(model: LatentModel, settings: Interpolation, generator: torch.Generator) -> Tensor:
    """Images on straight lines between two noises; of a mixture, which has none, between latents.

    Returns:
        uint8, lines×points×C×H×W, on the CPU.

    Raises:
        UserError: the model has no prior.
    """
    prior, count = model.prior, 2 * settings.lines
    if prior is None:
        raise UserError("this auto-encoder has no prior: fit one to its latents first")
    mixed = isinstance(prior, MixturePrior)
    ends = (
        prior.sample(count, generator)
        if mixed
        else torch.randn(count, prior.latent, generator=generator, device=generator.device)
    )
    starts, goals = ends.chunk(2)
    lines = straight_lines(starts, goals, settings.points)
    flat = lines.flatten(0, 1)
    images = quantise(model.decode(flat if mixed else prior.from_noise(flat))).cpu()
    return images.unflatten(0, (settings.lines, settings.points))


@torch.no_grad()
def _reconstructions(model: LatentModel, test: Tensor) -> Pixels:
    count = min(RECONSTRUCTED, len(test))
    columns = min(COLUMNS, count)
    images = test[: count - count % columns]
    device = next(model.parameters()).device
    again = quantise(model.reconstruct(as_model_input(images, device))).cpu()
    return reconstruction_grid(images, again, columns)


def _joined(parts: tuple[Tensor | None, ...]) -> Tensor | None:
    there = [part for part in parts if part is not None]
    return torch.cat(there) if there else None
