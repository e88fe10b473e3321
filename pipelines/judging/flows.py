"""Judge an energy of the plane by its flow and by its own density (dissertation, 5.3, 5.5.1).

What the study is about is that the first fits the data and the second does not: as likelihoods of
the same test points, and as distances of points of either from them, which need no density.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from components.datasets.shards import read_split
from components.datasets.toy import ToyDensity, density
from components.errors import DivergedError, UserError
from components.metrics.likelihood import energy_distance
from components.metrics.plane import BoxDensity, density_map
from components.metrics.sliced import sliced_wasserstein
from components.models.gradient_flow import GradientFlow
from components.plots.flows import FlowRow, flow_panels
from components.samplers.gradient_flow import FlowError
from pipelines.judging.modes import mode_figures, over_draws
from pipelines.runtime.progress import ProgressDisplay
from pipelines.runtime.settings import FlowEvaluate

SEED = 0
ROWS = 2000
SHOWN = 5000


def judge_flow(
    model: nn.Module, settings: FlowEvaluate, samples: Path, folder: Path, numbers: Path
) -> dict[str, Any]:
    """All figures of a gradient flow and of the energy-based model of its energy, and its pictures.

    Args:
        model: `GradientFlow` of points of the plane.
        settings: the entry of params.yaml.
        samples: folder of the draws.
        folder: where pictures go.
        numbers: where the densities behind them go.

    Returns:
        Flat figures, nats where they are likelihoods. Those of ``ebm`` are of exp(-f) over the box:
        where it is not integrable, a bound that is too good.

    Raises:
        UserError: another kind of model.
        DivergedError: the solver gave up.
    """
    if not isinstance(model, GradientFlow) or model.shape != (2,):
        raise UserError("evaluate kind flow-points judges gradient flows of the plane alone")
    # The judge's tolerance, whatever the model was trained or sampled by.
    model.settings = replace(model.settings, tolerance=settings.tolerance)
    truth = density(settings.data)
    test = read_split(Path("data/shards") / settings.data, "test").x
    draws = [torch.from_numpy(np.load(file)) for file in sorted(samples.glob("draw-*.npy"))]
    own = BoxDensity(model.log_unnormalised, settings.extent, settings.grid)
    judged = test[: settings.test_count]
    try:
        figures = _summary("log_likelihood", _log_prob(model, judged))
        flow_map = density_map(model.log_prob, settings.shown, settings.map)
    except FlowError as error:
        raise DivergedError(str(error)) from None
    figures |= {
        "log_likelihood_true": truth.log_prob(judged).mean().item(),
        "test_count": len(judged),
        **_own_density(model, own, judged, settings),
        **_distances(draws, own, truth, test, settings),
        **mode_figures(draws, truth, settings.mode_radius),
    }
    maps = {
        "energy": density_map(own, settings.shown, settings.map),
        "flow": flow_map,
        "truth": density_map(truth.log_prob, settings.shown, settings.map),
    }
    _pictures(folder, numbers, draws[0], maps, settings.shown)
    return figures


def _log_prob(model: GradientFlow, x: Tensor) -> Tensor:
    display = ProgressDisplay("likelihood", "points")
    parts: list[Tensor] = []
    for rows in x.split(ROWS):
        parts.append(model.log_prob(rows))
        display.show(sum(len(part) for part in parts), len(x))
    display.close()
    return torch.cat(parts)


def _summary(key: str, log_prob: Tensor) -> dict[str, Any]:
    values = log_prob.double()
    error = (values.std() / len(values) ** 0.5).item()
    return {key: values.mean().item(), f"{key}_std_error": error}


def _own_density(
    model: GradientFlow, own: BoxDensity, test: Tensor, settings: FlowEvaluate
) -> dict[str, Any]:
    """Likelihood by exp(-f) / Z, and whether there is such a density."""
    wider = BoxDensity(model.log_unnormalised, 2.0 * settings.extent, 2 * settings.grid)
    inside = test[test.abs().amax(dim=1) <= settings.extent]
    integral = own.integral
    grows = wider.integral.log_z - integral.log_z
    # A share of the mass beyond the box is an estimate from its rim; a wider box has seen it.
    integrable = integral.covered >= settings.least_covered and (
        grows <= -math.log(settings.least_covered)
    )
    return {
        **_summary("ebm_log_likelihood", own(inside)),
        "ebm_log_likelihood_twice_the_box": wider(inside).mean().item(),
        "ebm_log_z": integral.log_z,
        "ebm_log_z_growth": grows,
        "ebm_box_share": integral.covered,
        "ebm_integrable": integrable,
        "ebm_test_outside": len(test) - len(inside),
    }


def _distances(
    draws: list[Tensor],
    own: BoxDensity,
    truth: ToyDensity,
    test: Tensor,
    settings: FlowEvaluate,
) -> dict[str, Any]:
    """From test points: of the flow's samples, of points of exp(-f) / Z, and of true points.

    The last are the floor, what two sets of true points of this size are apart.
    """
    count = settings.distance_count
    generator = torch.Generator().manual_seed(SEED)
    sets = {
        "": [draw[:count] for draw in draws],
        "ebm_": [own.sample(count, settings.grid, generator) for _ in draws],
        "floor_": [truth.sample(count, generator) for _ in draws],
    }
    real, figures = test[:count], dict[str, Any](distance_count=count)
    for prefix, points in sets.items():
        sliced = _sliced(real, settings)
        figures |= over_draws([{f"{prefix}sliced_wasserstein": sliced(x)} for x in points])
        figures |= over_draws(
            [{f"{prefix}energy_distance": energy_distance(x, real)} for x in points]
        )
    return figures


def _sliced(real: Tensor, settings: FlowEvaluate) -> Callable[[Tensor], float]:
    def distance(points: Tensor) -> float:
        # The same directions for all sets: their chance is in none of the differences.
        generator = torch.Generator().manual_seed(SEED)
        return sliced_wasserstein(points, real, settings.directions, generator)

    return distance


def _pictures(
    folder: Path, numbers: Path, drawn: Tensor, maps: dict[str, Tensor], extent: float
) -> None:
    arrays = {key: values.numpy() for key, values in maps.items()}
    np.savez_compressed(numbers / "log-densities.npz", **cast(dict[str, Any], arrays))
    row = FlowRow(samples=drawn[:SHOWN].numpy(), extent=extent, **arrays)
    for name, logarithmic in (("log-densities", True), ("densities", False)):
        flow_panels({"": row}, logarithmic=logarithmic).savefig(folder / f"{name}.png")
