"""Learning an auto-encoder with a law of its latents (dissertation, chapter 3).

One loss for all rows of Table 3.1: β · reconstruction + regulariser + penalty. The regulariser of a
noisy posterior is its KL divergence from the prior (Eq. 3.2 and 3.4), of a point the prior's
negative log-likelihood, with the gradient stopped at the latents (Eq. 3.7, generative latent flow)
or not (Eq. 3.5, regularised GLF). Penalties are those of `components.learners.wasserstein`.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor, nn

from components.datasets.loading import Batch
from components.learners.computing import Computing
from components.learners.learner import Learner, Metrics, Stateful, as_model_input
from components.learners.optimisation import Optimisation, Updater, Updaters
from components.learners.reconstruction import Reconstruction
from components.learners.wasserstein import LatentDiscriminator, mmd, squared_norm
from components.models.latent_model import LatentModel, entropy_figure
from components.models.latent_priors import NormalPrior


@dataclass(frozen=True)
class Adversary:
    """WAE-GAN's.

    Attributes:
        network: tells latents from draws of the standard normal.
        optimisation: of its parameters.
    """

    network: LatentDiscriminator
    optimisation: Optimisation


@dataclass(frozen=True)
class LatentObjective:
    """What is minimised.

    Attributes:
        reconstruction: loss per image, nats.
        weight: β of the reconstruction; None: learned, 1/σ² with the Gaussian's log σ (Dai and
            Wipf, https://arxiv.org/abs/1903.05789).
        stop_gradient: whether the prior's likelihood does not move the encoder of points.
        penalty: on the latents.
        penalty_weight: its factor: γ of ``norm``, λ of ``mmd`` and ``gan``.
    """

    reconstruction: Reconstruction
    weight: float | None
    stop_gradient: bool
    penalty: Literal["none", "norm", "mmd", "gan"]
    penalty_weight: float


class LatentLearner(Learner):
    """Trains encoder, decoder and, if it has parameters, the prior, by one backward pass.

    The degeneracy of Eq. 3.5 (latents that shrink to feed the flow's log-determinant) is no
    divergence: the metrics `latent_scale`, `nll` and `reconstruction` show it.

    Args:
        model: what is learned.
        objective: the loss.
        optimiser: of encoder and decoder, of a flow posterior and a learned β.
        prior_optimiser: of the prior, None if it has no parameters.
        adversary: for the penalty ``gan``.
        seed: of the posterior's noise and the penalties' draws, this worker's own.
        computing: how the arithmetic is carried out.
    """

    def __init__(
        self,
        model: LatentModel,
        objective: LatentObjective,
        optimiser: Optimisation,
        prior_optimiser: Optimisation | None,
        adversary: Adversary | None,
        seed: int,
        computing: Computing,
    ) -> None:
        super().__init__(computing, seed)
        self.objective = objective
        self.model = computing.install(model, model.encoder, model.decoder)
        self.log_sigma = nn.Parameter(
            torch.zeros((), device=self.device), requires_grad=objective.weight is None
        )
        own = {name: part for name, part in model.named_children() if name != "prior"}
        auto_encoder = nn.ModuleDict({**own, "noise": nn.ParameterList([self.log_sigma])})
        scaled = computing.scaled
        parts = [(auto_encoder, optimiser)]
        if prior_optimiser is not None:
            parts.append((nn.ModuleDict({"prior": cast(nn.Module, model.prior)}), prior_optimiser))
        self.discriminator = None
        if adversary is not None:
            self.discriminator = computing.install(adversary.network)
            parts.append((nn.ModuleDict({"adversary": self.discriminator}), adversary.optimisation))
        self.updaters = Updaters(
            [Updater(part, how.schedule, **how.arguments, scaled=scaled) for part, how in parts]
        )
        self._exported = copy.deepcopy(model)
        for updater in self.updaters.members:
            for name, averaged in updater.average.named_children():
                if name in dict(model.named_children()):
                    setattr(self._exported, name, averaged)

    def training_step(self, batch: Batch, step: int) -> Metrics:
        self.model.train()
        return self.descend(self.updaters, batch, step, self._loss)

    def exported(self) -> nn.Module:
        return self._exported.eval()

    def parts(self) -> Mapping[str, Stateful]:
        return {"updaters": self.updaters}

    def _loss(self, part: Batch) -> tuple[Tensor, Metrics]:
        x = as_model_input(part.x, self.device)
        with self.computing.autocast():
            z, regulariser, metrics = self._latents(x)
            reconstruction = self.objective.reconstruction(x, self.model.decode(z)).mean()
        penalty, game = self._penalty(z)
        loss = self._weighted(reconstruction, x[0].numel()) + regulariser + penalty
        shown = {
            "loss": loss.detach(),
            "reconstruction": reconstruction.detach(),
            **metrics,
            "latent_scale": z.detach().var(dim=0, correction=0).mean().sqrt(),
        }
        if self.objective.penalty != "none":
            shown["penalty"] = penalty.detach()
        if self.discriminator is not None:
            shown["discriminator"] = game.detach()
        return loss + game, shown

    def _weighted(self, reconstruction: Tensor, pixels: int) -> Tensor:
        """β times the reconstruction; with β learned, the Gaussian's −log p(x|z) but for log 2π."""
        if self.objective.weight is not None:
            return self.objective.weight * reconstruction
        return torch.exp(-2.0 * self.log_sigma) * reconstruction + pixels * self.log_sigma

    def _latents(self, x: Tensor) -> tuple[Tensor, Tensor, Metrics]:
        """Latents (N×L), the regulariser (a scalar, nats), and what is worth watching."""
        model, zero = self.model, torch.zeros((), device=self.device)
        if model.posterior == "gaussian" and isinstance(model.prior, NormalPrior):
            return self._standard(x)
        z, log_q, log_variance = model.posterior_sample(x, self.generator)
        if log_q is None:
            # A normal prior of points is matched by a penalty, not by its likelihood (WAE).
            if model.prior is None or isinstance(model.prior, NormalPrior):
                return z, zero, {}
            nll = -model.log_prior(z.detach() if self.objective.stop_gradient else z).mean()
            return z, nll, {"nll": nll.detach()}
        assert log_variance is not None
        log_prior = model.log_prior(z)
        kl = (log_q - log_prior).mean()
        return z, kl, _watched(kl, -log_prior, log_variance)

    def _standard(self, x: Tensor) -> tuple[Tensor, Tensor, Metrics]:
        """As `_latents`, of a Gaussian against the standard normal: the KL in closed form."""
        mean, log_variance = self.model.moments(x)
        assert log_variance is not None
        variance = log_variance.exp()
        z = mean + variance.sqrt() * torch.empty_like(mean).normal_(generator=self.generator)
        kl = 0.5 * (mean.square() + variance - 1.0 - log_variance).sum(dim=1).mean()
        return z, kl, _watched(kl, -self.model.log_prior(z), log_variance)

    def _penalty(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The weighted penalty on the encoder, and the discriminator's own loss, scalars."""
        objective, zero = self.objective, torch.zeros((), device=self.device)
        if objective.penalty == "none":
            return zero, zero
        if objective.penalty == "norm":
            return objective.penalty_weight * squared_norm(z), zero
        prior = torch.empty_like(z).normal_(generator=self.generator)
        if objective.penalty == "mmd":
            return objective.penalty_weight * mmd(z, prior), zero
        assert self.discriminator is not None
        game = self.discriminator.loss(z, prior)
        return objective.penalty_weight * self.discriminator.fooled(z), game


def _watched(kl: Tensor, nll: Tensor, log_variance: Tensor) -> Metrics:
    return {
        "kl": kl.detach(),
        "nll": nll.detach().mean(),
        "entropy": entropy_figure(log_variance.detach()).mean(),
    }
