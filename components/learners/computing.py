"""How a learner's arithmetic is carried out: where, in which number format, in how many parts."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn

from components.datasets.loading import Batch
from components.learners.batch_norm import share_batch_norms
from components.learners.parallel import broadcast_module

Precision = Literal["float32", "bfloat16", "float16"]
Model = TypeVar("Model", bound=nn.Module)


@dataclass(frozen=True)
class Computing:
    """What a learner is told about the machine.

    Attributes:
        device: where the networks live.
        precision: autocast format of the networks' passes; weights, losses, updates and averages
            stay float32. With ``float16`` losses are scaled, and updates whose gradients overflow
            are left out (Micikevicius et al., https://arxiv.org/abs/1710.03740).
        parts: equal parts in which a worker's share of a batch is taken, one after the other, to
            save memory; their gradients are averaged for one update.
        compile: whether networks are compiled by `torch.compile`.
        pinned: whether batches go to a GPU by page-locked memory, without waiting.
    """

    device: torch.device
    precision: Precision = "float32"
    parts: int = 1
    compile: bool = False
    pinned: bool = False

    @property
    def scaled(self) -> bool:
        """Whether gradients would be too small for the number format unless scaled."""
        return self.precision == "float16"

    def install(self, model: Model, *networks: nn.Module) -> Model:
        """Make a model ready to be learned, in place: the same on all workers, on the device.

        Args:
            model: the whole.
            networks: modules of it whose calls are worth compiling.
        """
        model.to(self.device)
        broadcast_module(model)
        share_batch_norms(model)
        for network in networks if self.compile else ():
            network.compile()
        return model

    def autocast(self) -> AbstractContextManager[Any]:
        """The context of the networks' passes."""
        if self.precision == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, getattr(torch, self.precision))

    def eager(self) -> AbstractContextManager[Any]:
        """A context in which compiled networks run as they were written.

        Hooks that come and go are not seen by compiled code, which is differentiated once at most:
        passes whose slopes are penalised (R1, WGAN-GP) belong in here.
        """
        return torch.compiler.set_stance("force_eager") if self.compile else nullcontext()

    def parts_of(self, batch: Batch) -> list[Batch]:
        """A worker's share of a batch in its parts, on the device.

        Raises:
            ValueError: the parts would not be equal.
        """
        if len(batch.x) % self.parts:
            raise ValueError(f"{len(batch.x)} items do not make {self.parts} equal parts")
        size = len(batch.x) // self.parts
        labels = [None] * self.parts if batch.labels is None else batch.labels.split(size)
        return [
            Batch(self._moved(x), None if y is None else self._moved(y))
            for x, y in zip(batch.x.split(size), labels, strict=True)
        ]

    def _moved(self, items: Tensor) -> Tensor:
        if self.pinned:
            items = items.pin_memory()
        return items.to(self.device, non_blocking=True)
