"""The two phases of learning an energy: low on data, high on what its chains make of noise.

The gradient of the log-likelihood is the difference of both (dissertation, Eq. 4.17 and 5.1).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from components.datasets.loading import Batch
from components.learners.computing import Computing
from components.learners.learner import Metrics, as_model_input
from components.learners.parallel import pooled_moments
from components.networks.guard import GuardedEnergy, learned_energy
from components.networks.normalisation import initialise_from


def phase_energies(
    energy: nn.Module, data: Tensor, negative: Tensor, computing: Computing
) -> tuple[Tensor, Tensor]:
    """Energies of data and of negatives, N each, as losses see them, by one pass over both."""
    with computing.autocast():
        both = learned_energy(energy, torch.cat([data, negative]))
    energy_data, energy_negative = both.split([len(data), len(negative)])
    return energy_data, energy_negative


def phase_metrics(loss: Tensor, data: Tensor, negative: Tensor) -> Metrics:
    """What a step tells of its loss, a scalar, and of its energies, N each."""
    data, negative = data.detach(), negative.detach()
    return {
        "loss": loss.detach(),
        "energy_gap": negative.mean() - data.mean(),
        "energy_data": data.mean(),
        "energy_chain": negative.mean(),
    }


def run_away(metrics: Mapping[str, float], max_gap: float) -> str | None:
    """Say by how much the phases' mean energies are too far apart, or None while they are not.

    Args:
        metrics: of a step, as `phase_metrics` names them.
        max_gap: in nats.
    """
    gap = metrics.get("energy_gap", 0.0)
    return f"energy gap {gap:.3g} beyond {max_gap:.3g} nats" if abs(gap) > max_gap else None


def follow(energy: nn.Module, batch: Batch, computing: Computing) -> None:
    """Let an energy's guard, where it has one, follow the data, agreed between workers."""
    if isinstance(energy, GuardedEnergy) and energy.guard is not None:
        with computing.autocast():
            energy.follow(as_model_input(batch.x, computing.device), pooled_moments)


def initialise(energy: nn.Module, batch: Batch, computing: Computing) -> None:
    """Initialise an energy's weight-normalised layers from one global batch, alike everywhere."""
    with computing.eager():
        initialise_from(energy, as_model_input(batch.x, computing.device), pooled_moments)
