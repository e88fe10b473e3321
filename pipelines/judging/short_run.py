"""Judge a short-run EBM: samples, reconstructions, interpolations, longer chains (chapter 5)."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from components.datasets.shards import read_split
from components.errors import UserError
from components.images import quantise
from components.learners.learner import as_model_input
from components.metrics.neighbours import nearest_neighbours
from components.models.short_run import ShortRunEBM
from components.plots.chains import image_chain
from components.plots.grids import image_grid, save_png
from components.plots.rows import interpolation_grid, neighbour_grid, reconstruction_grid
from components.samplers.inversion import Inversion
from pipelines.judging.chains import judge_chains, short_run_chains
from pipelines.judging.distances import SEED, judge_distances, read_draws
from pipelines.runtime.settings import Interpolation, Reconstruction, ShortRunEvaluate

ROWS = 500
SHOWN, COLUMNS = 100, 10


def judge_short_run(
    model: nn.Module, settings: ShortRunEvaluate, samples: Path, folder: Path, numbers: Path
) -> dict[str, Any]:
    """All figures of an EBM of images whose finite sampler generates, and its pictures.

    Args:
        model: a `ShortRunEBM`, in evaluation mode.
        settings: the entry of params.yaml.
        samples: folder of the draws.
        folder: where pictures go: samples, chain, reconstructions, interpolations, neighbours, and
            what longer chains do.
        numbers: where starts, energies and neighbours behind them go.

    Returns:
        Flat figures: those of `judge_distances` and `judge_chains`; ``reconstruction_mse``, pixels
        in [0, 1]; ``energy_test`` and ``energy_samples``, nats; ``neighbour_distance``.

    Raises:
        UserError: a model of another kind, or one whose starts cannot be interpolated.
    """
    if not isinstance(model, ShortRunEBM):
        raise UserError("evaluate of kind short-run-images judges short-run EBMs: use another kind")
    device = next(model.parameters()).device
    shards = Path("data/shards") / settings.data
    draws, test = read_draws(samples), read_split(shards, "test").x
    lines = interpolated(model, settings.interpolations, torch.Generator(device).manual_seed(SEED))
    save_png(interpolation_grid(lines), folder / "interpolations.png")
    save_png(image_grid(draws[0][:SHOWN], COLUMNS), folder / "samples.png")
    _draw_chain(samples, folder)
    figures = judge_distances(draws, settings.data, settings, device, settings.precision_recall)
    energies = {
        "test": energies_of(model, test[: settings.energy_count]),
        "samples": energies_of(model, draws[0][: settings.energy_count]),
    }
    figures |= {f"energy_{name}": each.double().mean().item() for name, each in energies.items()}
    figures["energy_count"] = settings.energy_count
    images = test[: settings.reconstructions.count]
    again = reconstructed(model, images, settings.reconstructions)
    columns = math.gcd(len(images), COLUMNS)
    found = quantise(again.result).cpu()
    save_png(reconstruction_grid(images, found, columns), folder / "reconstructions.png")
    figures["reconstruction_mse"] = again.error.double().mean().item()
    figures["reconstruction_count"] = len(images)
    train, shown = read_split(shards, "train").x, draws[0][: settings.neighbours.samples]
    near = nearest_neighbours(shown, train, settings.neighbours.nearest)
    save_png(neighbour_grid(shown, train[near.indices]), folder / "neighbours.png")
    figures["neighbour_distance"] = near.distances[:, 0].mean().item()
    arrays = {f"energy_{name}": each for name, each in energies.items()}
    arrays |= {"starts": again.start.cpu(), "errors": again.error.cpu()}
    arrays |= {"neighbours": near.indices, "distances": near.distances}
    # A dictionary of Any: NumPy's own keyword is no name of an array.
    kept: dict[str, Any] = {name: array.numpy() for name, array in arrays.items()}
    np.savez(numbers / "short-run.npz", **kept)
    if settings.diagnosis is not None:
        chains = short_run_chains(model)
        figures |= judge_chains(chains, settings.diagnosis, folder, numbers, device)
    return figures


def interpolated(model: ShortRunEBM, settings: Interpolation, generator: torch.Generator) -> Tensor:
    """Images generated between two starts, evenly spaced on the arc from one to the other.

    Returns:
        uint8, lines×points×C×H×W, on the CPU.

    Raises:
        UserError: the model's starts are not normal.
    """
    angles = torch.linspace(0.0, 0.5 * math.pi, settings.points, device=generator.device)
    first, second = (model.noise(settings.lines, generator) for _ in range(2))
    images = model.interpolate(first, second, angles.cos().clamp(0.0, 1.0), generator)
    return quantise(images).transpose(0, 1).cpu()


@torch.no_grad()
def energies_of(model: ShortRunEBM, images: Tensor) -> Tensor:
    """Energies of stored images, nats, N, on the CPU."""
    device = next(model.parameters()).device
    parts = [model.energy(as_model_input(part, device)).cpu() for part in images.split(ROWS)]
    return torch.cat(parts)


def reconstructed(model: ShortRunEBM, images: Tensor, settings: Reconstruction) -> Inversion:
    """Starts from which the sampler comes near to stored images (5.1.1)."""
    device = next(model.parameters()).device
    return model.reconstruct(
        as_model_input(images, device),
        torch.Generator(device).manual_seed(SEED),
        settings.steps,
        settings.rate,
        settings.checkpoint,
    )


def _draw_chain(samples: Path, folder: Path) -> None:
    """The chains that the sample stage kept, if it was asked for some."""
    steps = json.loads((samples / "sampling.json").read_text())["chain_steps"]
    if steps:
        save_png(image_chain(np.load(samples / "chain.npy"), steps), folder / "chain.png")
