"""Learning the data set's own classifier, whose features judge samples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from components.datasets.loading import Batch
from components.learners.computing import Computing
from components.learners.learner import Learner, Metrics, Stateful, as_model_input
from components.learners.optimisation import Schedule, Updater


class ClassificationLearner(Learner):
    """Minimises the cross-entropy of the labels.

    Args:
        model: images in [0, 1] to logits.
        schedule: learning rate.
        optimiser: further arguments of `Updater`.
        seed: of dropout, this worker's own.
        computing: how the arithmetic is carried out.
    """

    def __init__(
        self,
        model: nn.Module,
        schedule: Schedule,
        optimiser: Mapping[str, Any],
        seed: int,
        computing: Computing,
    ) -> None:
        super().__init__(computing, seed)
        self.model = computing.install(model, model)
        self.updater = Updater(self.model, schedule, **optimiser, scaled=computing.scaled)

    def training_step(self, batch: Batch, step: int) -> Metrics:
        if batch.labels is None:
            raise ValueError("a classifier needs labels")
        self.model.train()
        return self.descend(self.updater, batch, step, self._cross_entropy)

    def exported(self) -> nn.Module:
        return self.updater.average.eval()

    def parts(self) -> Mapping[str, Stateful]:
        return {"updater": self.updater}

    def _cross_entropy(self, part: Batch) -> tuple[Tensor, Metrics]:
        assert part.labels is not None
        with self._dropout(), self.computing.autocast():
            logits = self.model(as_model_input(part.x, self.device))
        loss = F.cross_entropy(logits.float(), part.labels)
        right = (logits.detach().argmax(dim=1) == part.labels).float().mean()
        return loss, {"loss": loss.detach(), "accuracy": right}

    @contextmanager
    def _dropout(self) -> Iterator[None]:
        """Let dropout, which knows no generator but PyTorch's own, follow the learner's."""
        seed = torch.randint(2**63 - 1, (), generator=self.generator, device=self.device)
        with torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(int(seed))
            yield
