"""Learning generators without diffusion: vanilla GANs and Wasserstein GANs (6.4.3's rivals).

Goodfellow et al., https://arxiv.org/abs/1406.2661, with the loss of Eq. 6.5; Gulrajani et al.,
https://arxiv.org/abs/1704.00028.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from components.datasets.loading import Batch
from components.errors import UserError
from components.learners.adversarial import (
    between,
    fooled,
    lipschitz_penalty,
    squared_slope,
    told_apart,
)
from components.learners.computing import Computing
from components.learners.learner import Learner, Metrics, Stateful, as_model_input
from components.learners.optimisation import Optimisation, Updater
from components.models.plain_gan import PlainGAN
from components.samplers.frozen import frozen


@dataclass(frozen=True)
class PlainSettings:
    """The game.

    Attributes:
        objective: ``non-saturating`` or ``wasserstein``.
        penalty: λ of the Wasserstein critic's gradient penalty; 0 for the other.
        critic_steps: updates of the discriminator in a step, each on a part of the batch of its
            own, before the one of the generator.

    Raises:
        UserError: a value is out of its range.
    """

    objective: Literal["non-saturating", "wasserstein"]
    penalty: float = 0.0
    critic_steps: int = 1

    def __post_init__(self) -> None:
        if self.objective not in ("non-saturating", "wasserstein"):
            raise UserError(f"a GAN is non-saturating or wasserstein, not {self.objective}")
        if not 0.0 <= self.penalty < math.inf or self.critic_steps < 1:
            raise UserError("a GAN needs a penalty of 0 or more, and critic_steps of 1 or more")


class PlainGANLearner(Learner):
    """Moves the discriminator, as often as it is told, then the generator.

    Args:
        model: the generator.
        discriminator: maps items' states to N logits, called as those of denoising GANs are.
        settings: of the game.
        of_generator: learning rate and so on; its average is what is exported.
        of_discriminator: the same of the discriminator.
        seed: of all noise, this worker's own.
        computing: how the arithmetic is carried out.
    """

    def __init__(
        self,
        model: PlainGAN,
        discriminator: nn.Module,
        settings: PlainSettings,
        of_generator: Optimisation,
        of_discriminator: Optimisation,
        seed: int,
        computing: Computing,
    ) -> None:
        super().__init__(computing, seed)
        self.settings = settings
        self.model = computing.install(model, model.generator)
        self.discriminator = computing.install(discriminator, discriminator)
        scaled = computing.scaled
        self.generating = Updater(
            model.generator, of_generator.schedule, **of_generator.arguments, scaled=scaled
        )
        self.judging = Updater(
            discriminator, of_discriminator.schedule, **of_discriminator.arguments, scaled=scaled
        )
        self._exported = PlainGAN(
            self.generating.average, model.shape, model.latent, model.states.scale
        )

    def training_step(self, batch: Batch, step: int) -> Metrics:
        self.model.train()
        self.discriminator.train()
        many = self.settings.critic_steps
        for i in range(many):
            # All data have been seen when the generator moves, whatever the number.
            share = Batch(batch.x[i::many], None)
            judged = self.descend(self.judging, share, step, self._judge)
        generated = self.descend(self.generating, batch, step, self._generate)
        return judged | generated | {"gradient_norm": self.generating.gradient_norm()}

    def exported(self) -> nn.Module:
        return self._exported.eval()

    def parts(self) -> Mapping[str, Stateful]:
        return {"generating": self.generating, "judging": self.judging}

    def _judge(self, part: Batch) -> tuple[Tensor, Metrics]:
        true = self.model.states.of(as_model_input(part.x, self.device))
        with torch.no_grad(), self.computing.autocast():
            made = self.model.generate(len(true), self.generator)
        with self.computing.autocast():
            on_true, on_made = self._logits(torch.cat([true, made])).chunk(2)
        if self.settings.objective == "non-saturating":
            loss = told_apart(on_true, on_made).mean()
            return loss, {"loss_discriminator": loss.detach()}
        loss = on_made.mean() - on_true.mean()
        line = between(true, made, self.generator).requires_grad_()
        with self.computing.autocast(), self.computing.eager():
            slopes = squared_slope(self._logits(line), line)
        penalty = lipschitz_penalty(slopes).mean()
        metrics = {"loss_discriminator": loss.detach(), "penalty": penalty.detach()}
        return loss + self.settings.penalty * penalty, metrics

    def _generate(self, part: Batch) -> tuple[Tensor, Metrics]:
        with self.computing.autocast(), frozen(self.discriminator):
            logits = self._logits(self.model.generate(len(part.x), self.generator))
        wasserstein = self.settings.objective == "wasserstein"
        loss = (-logits if wasserstein else fooled(logits)).mean()
        return loss, {"loss_generator": loss.detach()}

    def _logits(self, x: Tensor) -> Tensor:
        logits: Tensor = self.discriminator(x, x.new_zeros(len(x)))
        return logits
