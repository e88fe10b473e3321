"""Learning a VAE by its evidence lower bound (dissertation, Eq. 4.14, first term)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from components.datasets.loading import Batch
from components.learners.computing import Computing
from components.learners.learner import Learner, Metrics, Stateful, as_model_input
from components.learners.optimisation import Schedule, Updater
from components.models.vae import VAE


class ELBOLearner(Learner):
    """Maximises the mean β-weighted bound.

    Args:
        model: the VAE.
        beta: weight of the KL term.
        schedule: learning rate.
        optimiser: further arguments of `Updater`.
        seed: of the posterior's noise, this worker's own.
        computing: how the arithmetic is carried out.
    """

    def __init__(
        self,
        model: VAE,
        beta: float,
        schedule: Schedule,
        optimiser: Mapping[str, Any],
        seed: int,
        computing: Computing,
    ) -> None:
        super().__init__(computing, seed)
        self.model, self.beta = computing.install(model, model.encoder, model.decoder), beta
        self.updater = Updater(self.model, schedule, **optimiser, scaled=computing.scaled)

    def training_step(self, batch: Batch, step: int) -> Metrics:
        self.model.train()
        return self.descend(self.updater, batch, step, self._negative_bound)

    def exported(self) -> nn.Module:
        return self.updater.average.eval()

    def parts(self) -> Mapping[str, Stateful]:
        return {"updater": self.updater}

    def _negative_bound(self, part: Batch) -> tuple[Tensor, Metrics]:
        with self.computing.autocast():
            x = as_model_input(part.x, self.device)
            bound = self.model.bound(x, self.generator, self.beta)
        return -bound.elbo.mean(), {
            "elbo": bound.elbo.detach().mean(),
            "log_likelihood": bound.log_likelihood.detach().mean(),
            "kl": bound.kl.detach().mean(),
        }
