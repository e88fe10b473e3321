"""Learning the data set's own classifier, whose features judge samples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from components.datasets.loading import Batch
from components.learners.learner import Learner, Metrics, as_model_input, precision
from components.learners.optimisation import Schedule, Updater
from components.learners.parallel import broadcast_module


class ClassificationLearner(Learner):
    """Minimises the cross-entropy of the labels.

    Args:
        model: images in [0, 1] to logits.
        schedule: learning rate.
        optimiser: further arguments of `Updater`.
        seed: of dropout, this worker's own.
        device: where to learn.
        bfloat16: whether the network runs in bfloat16.
    """

    def __init__(
        self,
        model: nn.Module,
        schedule: Schedule,
        optimiser: Mapping[str, Any],
        seed: int,
        device: torch.device,
        bfloat16: bool,
    ) -> None:
        self.model, self.device = model.to(device), device
        self.bfloat16 = bfloat16
        broadcast_module(self.model)
        self.updater = Updater(self.model, schedule, **optimiser)
        self.generator = torch.Generator(device).manual_seed(seed)

    def training_step(self, batch: Batch, step: int) -> Metrics:
        if batch.labels is None:
            raise ValueError("a classifier needs labels")
        self.model.train()
        labels = batch.labels.to(self.device, non_blocking=True)
        with self._dropout(), precision(self.device, self.bfloat16):
            logits = self.model(as_model_input(batch.x, self.device))
        loss = F.cross_entropy(logits.float(), labels)
        self.updater.update(loss, step)
        right = (logits.detach().argmax(dim=1) == labels).float().mean()
        return {"loss": loss.detach(), "accuracy": right}

    def exported(self) -> nn.Module:
        return self.updater.average.eval()

    def state_dict(self) -> dict[str, Any]:
        return {"updater": self.updater.state_dict(), "generator": self.generator.get_state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.updater.load_state_dict(state["updater"])
        self.generator.set_state(state["generator"].cpu())

    @contextmanager
    def _dropout(self) -> Iterator[None]:
        """Let dropout, which knows no generator but PyTorch's own, follow the learner's."""
        seed = torch.randint(2**63 - 1, (), generator=self.generator, device=self.device)
        with torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(int(seed))
            yield
