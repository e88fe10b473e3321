"""What every learner is: something that advances a model by one step and can be saved whole."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from components.datasets.loading import Batch
from components.images import to_unit
from components.learners.computing import Computing
from components.learners.optimisation import Updater, Updaters

Metrics = dict[str, Tensor]


class Stateful(Protocol):
    """What can be saved and put back: a module, an optimiser, a buffer."""

    def state_dict(self) -> Any:
        """All of it, as tensors and plain Python values."""

    def load_state_dict(self, state: Any, /) -> Any:
        """Go back to a saved state."""


class Learner(ABC):
    """Owns a model's networks, optimisers, schedules, buffers and random streams.

    Args:
        computing: how its arithmetic is carried out.
        seed: of its random stream, this worker's own.

    Attributes:
        generator: the learner's only source of randomness, on the model's device.
        device: where the networks live.
    """

    def __init__(self, computing: Computing, seed: int) -> None:
        self.computing, self.device = computing, computing.device
        self.generator = torch.Generator(computing.device).manual_seed(seed)

    @abstractmethod
    def training_step(self, batch: Batch, step: int) -> Metrics:
        """Advance by one optimiser update.

        Args:
            batch: the worker's share of the global batch, as stored (uint8 images or float32
                points), on any device.
            step: number of updates done before this one, from 0.

        Returns:
            Scalars of this step, detached tensors on the device: reading them is left to the
            caller, so that a step does not wait for the device.
        """

    @abstractmethod
    def exported(self) -> nn.Module:
        """The model as it is now, for sampling and export: averaged weights where there are any."""

    @abstractmethod
    def parts(self) -> Mapping[str, Stateful]:
        """All that the next step depends on, by name: weights, optimisers, averages, buffers.

        The random stream is not among them: every learner has it.
        """

    def state_dict(self) -> dict[str, Any]:
        """The state of all parts and of the random stream.

        Tensors and plain Python values only, so that it can be read back without unpickling code.
        """
        states = {name: part.state_dict() for name, part in self.parts().items()}
        return states | {"generator": self.generator.get_state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to a saved state."""
        for name, part in self.parts().items():
            part.load_state_dict(state[name])
        self.generator.set_state(state["generator"].cpu())

    def prepare(self, batch: Batch) -> None:  # noqa: B027 - few learners need it
        """Look at one batch before the first step (data-dependent initialisation); default: no."""

    def diverged(self, metrics: Mapping[str, float]) -> str | None:
        """Say why training has run away, or None while it is healthy.

        Args:
            metrics: scalars of a recent step, averaged over workers.
        """
        bad = [name for name, value in metrics.items() if not abs(value) < float("inf")]
        return f"{', '.join(bad)} not finite" if bad else None

    def reseed(self, seed: int) -> None:
        """Take another random stream, after a rollback."""
        self.generator.manual_seed(seed)

    def descend(
        self,
        updater: Updater | Updaters,
        batch: Batch,
        step: int,
        loss_of: Callable[[Batch], tuple[Tensor, Metrics]],
    ) -> Metrics:
        """Make one update from the gradients of the batch's parts.

        Args:
            updater: of the parameters to move.
            batch: the worker's share of the global batch.
            step: number of the updater's updates before this one.
            loss_of: gives a part's mean loss, a scalar, and its metrics; the part is on the device.

        Returns:
            The metrics, averaged over the parts.
        """
        parts = self.computing.parts_of(batch)
        updater.begin()
        seen = []
        for part in parts:
            loss, metrics = loss_of(part)
            updater.accumulate(loss / len(parts))
            seen.append(metrics)
        updater.update(step)
        return {name: torch.stack([row[name] for row in seen]).mean(dim=0) for name in seen[0]}


def as_model_input(x: Tensor, device: torch.device) -> Tensor:
    """Stored items in the range of the models: uint8 images to [0, 1], points as they are."""
    moved = x.to(device, non_blocking=True)
    return to_unit(moved) if moved.dtype == torch.uint8 else moved
