"""Learning a prior of the latents of a frozen auto-encoder: the second of two stages.

Two-stage GLF (Eq. 3.7 with the auto-encoder trained before the flow), and the two-stage VAE, whose
second VAE learns draws of the first one's posterior (Dai and Wipf,
https://arxiv.org/abs/1903.05789).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from components.datasets.loading import Batch
from components.learners.computing import Computing
from components.learners.learner import Learner, Metrics, Stateful, as_model_input
from components.learners.optimisation import Optimisation, Updater
from components.models.latent_flow import LatentFlow
from components.models.latent_model import LatentModel
from components.models.latent_priors import LatentVAE


class LatentPriorLearner(Learner):
    """Maximises the prior's log-likelihood of latents, or a second VAE's bound of it.

    Args:
        model: frozen but for its prior, a flow or a second VAE.
        optimiser: of the prior.
        seed: of the posteriors' noise, this worker's own.
        computing: how the arithmetic is carried out.

    Raises:
        ValueError: the prior has nothing to learn by gradients.
    """

    def __init__(
        self, model: LatentModel, optimiser: Optimisation, seed: int, computing: Computing
    ) -> None:
        super().__init__(computing, seed)
        self.model = computing.install(model, model.encoder)
        prior = model.prior
        if not isinstance(prior, LatentFlow | LatentVAE):
            raise ValueError(f"a prior of class {type(prior).__name__} is not learned in steps")
        self.prior = prior
        self.updater = Updater(
            prior, optimiser.schedule, **optimiser.arguments, scaled=computing.scaled
        )
        self._exported = copy.deepcopy(model)
        setattr(self._exported, "prior", self.updater.average)  # noqa: B010

    def training_step(self, batch: Batch, step: int) -> Metrics:
        # The frozen networks' batch norms must neither look at this batch nor follow it.
        self.model.eval()
        self.prior.train()
        return self.descend(self.updater, batch, step, self._loss)

    def exported(self) -> nn.Module:
        return self._exported.eval()

    def parts(self) -> Mapping[str, Stateful]:
        return {"updater": self.updater}

    def _loss(self, part: Batch) -> tuple[Tensor, Metrics]:
        with self.computing.autocast():
            with torch.no_grad():
                x = as_model_input(part.x, self.device)
                z = self.model.posterior_sample(x, self.generator).z
            scale = {"latent_scale": z.var(dim=0, correction=0).mean().sqrt()}
            if isinstance(self.prior, LatentFlow):
                nll = -self.prior.log_prob(z).mean()
                return nll, {"nll": nll.detach(), **scale}
            bound = self.prior.bound(z, self.generator)
        loss = -bound.elbo.mean()
        return loss, {"nll": loss.detach(), "kl": bound.kl.detach().mean(), **scale}
