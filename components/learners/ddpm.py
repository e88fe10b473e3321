"""Learning denoising diffusion models (Ho et al., https://arxiv.org/abs/2006.11239, Eq. 14)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from components.datasets.loading import Batch
from components.learners.computing import Computing
from components.learners.learner import Learner, Metrics, Stateful, as_model_input
from components.learners.optimisation import Optimisation, Updater
from components.models.ddpm import DDPM


class DDPMLearner(Learner):
    """Lets the network predict the noise in x_{t+1}, all t alike: the simple loss.

    Args:
        model: the network and its process.
        optimisation: learning rate and so on.
        seed: of times and noise, this worker's own.
        computing: how the arithmetic is carried out.
    """

    def __init__(
        self, model: DDPM, optimisation: Optimisation, seed: int, computing: Computing
    ) -> None:
        super().__init__(computing, seed)
        self.model = computing.install(model, model.network)
        self.updater = Updater(
            model.network,
            optimisation.schedule,
            **optimisation.arguments,
            scaled=computing.scaled,
        )
        self._exported = DDPM(
            self.updater.average, model.shape, model.process, model.sampler, model.states.scale
        )

    def training_step(self, batch: Batch, step: int) -> Metrics:
        self.model.train()
        metrics = self.descend(self.updater, batch, step, self._loss)
        return metrics | {"gradient_norm": self.updater.gradient_norm()}

    def exported(self) -> nn.Module:
        return self._exported.eval()

    def parts(self) -> Mapping[str, Stateful]:
        return {"updater": self.updater}

    def _loss(self, part: Batch) -> tuple[Tensor, Metrics]:
        """Mean square error of the predicted noise, an average over coordinates."""
        model = self.model
        clean = model.states.of(as_model_input(part.x, self.device))
        t = model.process.times(len(clean), self.generator)
        noise = torch.empty_like(clean).normal_(generator=self.generator)
        with self.computing.autocast():
            found = model.noise_in(model.process.diffuse(clean, t + 1, noise), t)
        loss = (found.float() - noise).square().mean()
        return loss, {"loss": loss.detach()}
