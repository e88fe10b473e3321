"""Judge a model of points: likelihood against the truth, modes, pictures (dissertation, 4.4.1)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from components.datasets.shards import read_split
from components.datasets.toy import ToyDensity, density
from components.metrics.likelihood import log_partition_by_importance, log_partition_on_grid
from components.metrics.ood import ood_scores
from components.models.gridded import GriddedDensity
from components.models.vae import VAE
from components.models.vaebm import VAEBM
from components.plots.densities import density_panels, scatter_panels
from pipelines.judging.modes import mode_figures
from pipelines.runtime.progress import ProgressDisplay
from pipelines.runtime.settings import PointEvaluate

SEED = 0
ROWS = 500
IMPORTANCE_DRAWS = 1_000_000
IMPORTANCE_ROWS = 100_000
PANEL = 400
SHOWN = 5000

LogDensity = Callable[[Tensor], Tensor]


def judge_points(
    model: nn.Module, settings: PointEvaluate, samples: Path, folder: Path, numbers: Path
) -> dict[str, Any]:
    """All figures of a model of points, and its pictures.

    Args:
        model: `VAE` or `VAEBM`.
        settings: the entry of params.yaml.
        samples: folder of the draws.
        folder: where pictures go.
        numbers: where the densities behind them go.

    Returns:
        Flat figures, nats where they are likelihoods.
    """
    truth = density(settings.data)
    base = model.base if isinstance(model, VAEBM) else model
    assert isinstance(base, VAE)
    energy = model.energy if isinstance(model, VAEBM) else None
    tilted = _tilted(base, energy, settings)
    figures, log_z = _partition(base, energy, tilted, settings)
    test = read_split(Path("data/shards") / settings.data, "test").x[: settings.test_count]
    figures |= _likelihood(base, energy, log_z, test, truth, settings)
    draws = [torch.from_numpy(np.load(file)) for file in sorted(samples.glob("draw-*.npy"))]
    figures |= mode_figures(draws, truth, settings.mode_radius)
    figures |= _outsiders(tilted, test, settings)
    _pictures(folder, numbers, tilted, log_z, truth, draws[0], test, settings)
    return figures


def _tilted(base: VAE, energy: nn.Module | None, settings: PointEvaluate) -> LogDensity:
    """log p_base(x) - f(x), unnormalised, the base tabulated on the grid."""
    log_base = GriddedDensity(
        base,
        settings.extent,
        settings.grid,
        settings.grid_samples,
        torch.Generator().manual_seed(SEED),
    )

    @torch.no_grad()
    def log_density(x: Tensor) -> Tensor:
        return log_base(x) if energy is None else log_base(x) - energy(x)

    return log_density


def _partition(
    base: VAE, energy: nn.Module | None, tilted: LogDensity, settings: PointEvaluate
) -> tuple[dict[str, float], float]:
    """log Z by integration on a grid, checked by importance sampling from the base."""
    if energy is None:
        return {}, 0.0
    corner = torch.full((2,), settings.extent)
    grid = log_partition_on_grid(tilted, -corner, corner, settings.grid)
    generator = torch.Generator().manual_seed(SEED + 1)
    with torch.no_grad():
        log_weights = torch.cat(
            [
                -energy(base.sample(IMPORTANCE_ROWS, generator))
                for _ in range(IMPORTANCE_DRAWS // IMPORTANCE_ROWS)
            ]
        )
    check = log_partition_by_importance(log_weights)
    figures = {
        "log_z": grid.log_z,
        "log_z_error": grid.error,
        "log_z_importance": check.log_z,
        "log_z_importance_error": check.standard_error,
    }
    return figures, grid.log_z


def _likelihood(
    base: VAE,
    energy: nn.Module | None,
    log_z: float,
    test: Tensor,
    truth: ToyDensity,
    settings: PointEvaluate,
) -> dict[str, float]:
    """Mean test log-likelihood, the base's by its importance-weighted bound."""
    generator = torch.Generator().manual_seed(SEED + 2)
    display = ProgressDisplay("likelihood", "points")
    parts: list[Tensor] = []
    for x in test.split(ROWS):
        bound = base.log_prob_bound(x, settings.iwae_samples, generator)
        with torch.no_grad():
            parts.append(bound if energy is None else bound - energy(x) - log_z)
        display.show(sum(len(part) for part in parts), len(test))
    display.close()
    log_prob = torch.cat(parts)
    return {
        "log_likelihood": log_prob.mean().item(),
        "log_likelihood_std_error": (log_prob.std() / len(log_prob) ** 0.5).item(),
        "log_likelihood_true": truth.log_prob(test).mean().item(),
        "test_count": len(test),
    }


def _outsiders(tilted: LogDensity, test: Tensor, settings: PointEvaluate) -> dict[str, Any]:
    """Detection of the points of other densities by log p(x) up to a constant."""
    figures: dict[str, Any] = {
        "ood_positive": "in-distribution test points",
        "ood_score": "log p(x) + constant",
        "ood_count": len(test),
    }
    inside = tilted(test)
    for name in (settings.outsiders.near, settings.outsiders.far):
        other = read_split(Path("data/shards") / name, "test").x[: len(test)]
        scores = ood_scores(inside, tilted(other))
        figures |= {f"{key}_{name}": scores[key] for key in ("auroc", "aupr", "fpr95")}
    return figures


def _pictures(
    folder: Path,
    numbers: Path,
    tilted: LogDensity,
    log_z: float,
    truth: ToyDensity,
    sampled: Tensor,
    test: Tensor,
    settings: PointEvaluate,
) -> None:
    side = torch.linspace(-settings.extent, settings.extent, PANEL)
    y, x = torch.meshgrid(side, side, indexing="ij")
    nodes = torch.stack([x.flatten(), y.flatten()], dim=1)
    model = (tilted(nodes) - log_z).exp().view(PANEL, PANEL)
    true = truth.log_prob(nodes).exp().view(PANEL, PANEL)
    panels = {"truth": true.float().numpy(), "model": model.float().numpy()}
    np.savez_compressed(numbers / "density.npz", truth=panels["truth"], model=panels["model"])
    density_panels(panels, settings.extent).savefig(folder / "density.png")
    points = {"data": test[:SHOWN].numpy(), "samples": sampled[:SHOWN].numpy()}
    scatter_panels(points, settings.extent).savefig(folder / "samples.png")
