"""What a model's Langevin chains do when they are run for longer than in training (Figure 5.1).

The same for every energy that has chains: a short-run EBM's over images, a VAEBM's over noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic

import numpy as np
import torch
from torch import Tensor, nn

from components.images import quantise
from components.metrics.chains import Diagnosis, S, diagnose, drift, metropolis_acceptance
from components.metrics.sliced import sliced_wasserstein
from components.models.export import read_story
from components.models.short_run import ShortRunEBM
from components.models.vaebm import VAEBM
from components.plots.chains import image_chain
from components.plots.grids import save_png
from components.plots.mixing import ChainStory, mixing_panels
from components.samplers.field import State
from components.samplers.frozen import frozen
from components.samplers.langevin import LangevinSettings, langevin
from pipelines.judging.distances import SEED
from pipelines.runtime.builders import langevin_of
from pipelines.runtime.settings import ChainDiagnosis, Langevin

SHOWN = 10


@dataclass(frozen=True)
class Chains(Generic[S]):
    """A model's chains.

    Attributes:
        potential: a state to N energies.
        start: count and generator to a state.
        items: a state to images, N×C×H×W.
        settings: of the chains in training.
        networks: whose parameters take no gradient of the chains.
    """

    potential: Callable[[S], Tensor]
    start: Callable[[int, torch.Generator], S]
    items: Callable[[S], Tensor]
    settings: LangevinSettings
    networks: tuple[nn.Module, ...]


def short_run_chains(model: ShortRunEBM) -> Chains[Tensor]:
    """The chains that are a short-run EBM's generator."""
    return Chains(model.potential, model.noise, model.to_items, model.langevin, (model.energy,))


def vaebm_chains(model: VAEBM, folder: Path) -> Chains[State]:
    """A VAEBM's chains, over noise (Eq. 4.19) or over latents and items (Eq. 4.11).

    Args:
        model: whose chains are wanted.
        folder: of the exported model, which knows the settings of its training.
    """
    trained = Langevin.model_validate(read_story(folder)["settings"]["langevin"])
    networks = (model.energy, model.base)
    settings = langevin_of(trained)
    if model.space == "noise":
        return Chains(model.noise_potential, model.noise, model.transport, settings, networks)

    def start(count: int, generator: torch.Generator) -> State:
        noise = model.noise(count, generator)
        return noise[0], model.transport(noise)

    return Chains(model.data_potential, start, lambda state: state[1], settings, networks)


@torch.no_grad()
def judge_chains(
    chains: Chains[S],
    settings: ChainDiagnosis,
    folder: Path,
    numbers: Path,
    device: torch.device,
) -> dict[str, Any]:
    """Run chains on, say how they mix, and draw it.

    Args:
        chains: of the model.
        settings: how many chains, and for how long.
        folder: where mixing.png and drift.png go.
        numbers: where chains.npz, what is behind them, goes.
        device: of the model.

    Returns:
        Flat figures. ``chain_r_hat`` and ``chain_ess_share`` are of the energy over the second half
        of the kept steps, ``chain_r_hat_max`` is the largest of the energy and the projections.
        ``chain_acceptance`` is the share of moves that Metropolis adjustment would accept after K
        steps, left out for chains without noise. ``chain_energy_start``, ``_trained`` and ``_end``
        are mean energies, at first, after K steps and at last. ``chain_drift_Mx`` is the sliced
        Wasserstein distance of images, pixels in [0, 1], between K and M·K steps, and
        ``chain_drift_floor`` that of two sets after K steps; ``chain_displacement_Mx`` how far
        chains are then from where they were, root mean square. What is not a finite number, as
        R-hat where nothing moves, is left out.

    Raises:
        UserError: multiples that do not rise, or too few kept steps.
    """
    generator = torch.Generator(device).manual_seed(SEED)
    start = chains.start(settings.chains, generator)
    observe = _projections(start, settings.projections, generator) if settings.projections else None
    with frozen(*chains.networks):
        found = diagnose(
            chains.potential,
            start,
            chains.settings,
            generator,
            settings.multiples,
            settings.every,
            observe,
        )
        acceptance = _acceptance(chains, found.stages[0], generator)
        fresh = chains.start(settings.chains, generator)
        other = langevin(chains.potential, fresh, chains.settings, generator).state
    items = [chains.items(stage).clamp(0.0, 1.0) for stage in found.stages]

    def distance(first: Tensor, second: Tensor) -> float:
        directions = torch.Generator(device).manual_seed(SEED)
        flat = first.flatten(1), second.flatten(1)
        return sliced_wasserstein(*flat, settings.directions, directions)

    floor = distance(items[0], chains.items(other).clamp(0.0, 1.0))
    drifts = drift(items, distance)
    story = ChainStory(
        steps=found.steps,
        energies=found.energies.cpu().numpy(),
        correlation=found.correlation.cpu().numpy(),
        multiples=settings.multiples,
        drift=drifts,
        r_hat=float(found.r_hat[0]),
        effective=float(found.effective[0]) / found.draws,
        acceptance=acceptance,
    )
    trained = chains.settings.steps
    figure = mixing_panels({"chains": story}, trained, floor, "sliced Wasserstein")
    save_png(figure, folder / "mixing.png")
    shown = torch.stack([quantise(each[:SHOWN]).cpu() for each in items])
    ends = [trained * multiple for multiple in (1, *settings.multiples)]
    save_png(image_chain(shown, ends), folder / "drift.png")
    _keep(found, drifts, floor, numbers)
    figures = _figures(found, story, settings, trained) | {"chain_drift_floor": floor}
    return {key: value for key, value in figures.items() if math.isfinite(value)}


def _projections(state: S, count: int, generator: torch.Generator) -> Callable[[S], Tensor]:
    """Coordinates of a state along random directions of length 1."""
    size = _flat(state).shape[1]
    directions = torch.randn(size, count, generator=generator, device=generator.device)
    directions /= directions.norm(dim=0)
    return lambda state: _flat(state) @ directions


def _flat(state: State) -> Tensor:
    parts = state if isinstance(state, tuple) else (state,)
    return torch.cat([part.flatten(1) for part in parts], dim=1)


def _acceptance(chains: Chains[S], state: S, generator: torch.Generator) -> float | None:
    """None for chains without noise, which have no law to keep."""
    if chains.settings.noise_scale * chains.settings.temperature == 0.0:
        return None
    # In float32: rounded energies would be rejected for what is no error of the steps.
    exact = replace(chains.settings, autocast=None)
    return metropolis_acceptance(chains.potential, state, exact, generator)


def _keep(found: Diagnosis[S], drifts: list[float], floor: float, numbers: Path) -> None:
    arrays: dict[str, Any] = {
        "steps": np.array(found.steps),
        "energies": found.energies.cpu().numpy(),
        "correlation": found.correlation.cpu().numpy(),
        "r_hat": found.r_hat.cpu().numpy(),
        "effective": found.effective.cpu().numpy(),
        "drift": np.array(drifts),
        "drift_floor": np.array(floor),
    }
    np.savez(numbers / "chains.npz", **arrays)


def _figures(
    found: Diagnosis[S], story: ChainStory, settings: ChainDiagnosis, trained: int
) -> dict[str, float]:
    means = found.energies.mean(dim=1)
    nearest = min(range(len(found.steps)), key=lambda index: abs(found.steps[index] - trained))
    figures: dict[str, float] = {
        "chain_count": settings.chains,
        "chain_steps": trained,
        "chain_r_hat": story.r_hat,
        "chain_r_hat_max": float(found.r_hat.max()),
        "chain_ess_share": story.effective,
        "chain_energy_start": float(means[0]),
        "chain_energy_trained": float(means[nearest]),
        "chain_energy_end": float(means[-1]),
    }
    if story.acceptance is not None:
        figures["chain_acceptance"] = story.acceptance
    for multiple, moved, away in zip(
        settings.multiples, story.drift, found.displacement, strict=True
    ):
        figures |= {f"chain_drift_{multiple}x": moved, f"chain_displacement_{multiple}x": away}
    return figures
