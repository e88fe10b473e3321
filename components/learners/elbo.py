"""Learning a VAE by its evidence lower bound (dissertation, Eq. 4.14, first term)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from components.datasets.loading import Batch
from components.learners.learner import Learner, Metrics, as_model_input, precision
from components.learners.optimisation import Schedule, Updater
from components.learners.parallel import broadcast_module
from components.models.vae import VAE


class ELBOLearner(Learner):
    """Maximises the mean β-weighted bound.

    Args:
        model: the VAE.
        beta: weight of the KL term.
        schedule: learning rate.
        optimiser: further arguments of `Updater`.
        seed: of the posterior's noise, this worker's own.
        device: where to learn.
        bfloat16: whether the networks run in bfloat16.
    """

    def __init__(
        self,
        model: VAE,
        beta: float,
        schedule: Schedule,
        optimiser: Mapping[str, Any],
        seed: int,
        device: torch.device,
        bfloat16: bool,
    ) -> None:
        self.model, self.beta, self.device = model.to(device), beta, device
        self.bfloat16 = bfloat16
        broadcast_module(self.model)
        self.updater = Updater(self.model, schedule, **optimiser)
        self.generator = torch.Generator(device).manual_seed(seed)

    def training_step(self, batch: Batch, step: int) -> Metrics:
        x = as_model_input(batch.x, self.device)
        self.model.train()
        with precision(self.device, self.bfloat16):
            bound = self.model.bound(x, self.generator, self.beta)
        self.updater.update(-bound.elbo.mean(), step)
        return {
            "elbo": bound.elbo.detach().mean(),
            "log_likelihood": bound.log_likelihood.detach().mean(),
            "kl": bound.kl.detach().mean(),
        }

    def exported(self) -> nn.Module:
        return self.updater.average.eval()

    def state_dict(self) -> dict[str, Any]:
        return {"updater": self.updater.state_dict(), "generator": self.generator.get_state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.updater.load_state_dict(state["updater"])
        self.generator.set_state(state["generator"].cpu())
