"""Learning denoising diffusion GANs (dissertation, Algorithm 1 and Table 6.8)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from components.datasets.loading import Batch
from components.errors import UserError
from components.learners.adversarial import fooled, squared_slope, told_apart
from components.learners.computing import Computing
from components.learners.learner import Learner, Metrics, Stateful, as_model_input
from components.learners.optimisation import Optimisation, Updater
from components.models.denoising_gan import DenoisingGAN
from components.networks.diffusion_discriminator import group_size
from components.samplers.diffusion import DiffusionProcess
from components.samplers.frozen import frozen


@dataclass(frozen=True)
class AdversarialSettings:
    """The game.

    Attributes:
        gamma: γ of R1 (Eq. 6.16); 0: none.
        r1_every: updates of the discriminator from one R1 to the next, each counting so many times
            (Karras et al., https://arxiv.org/abs/1912.04958, lazy regularisation); 1: always.
        augmentation: steps of a diffusion by which true and generated items of a model of one step
            are noised before the discriminator sees them (Table 6.2, second group); 0: none.
        groups_of_one_time: items whose deviation a `DiffusionDiscriminator` sees together are of
            one t, and all t are as often: else the deviation tells mostly which t came together.
        common_noise: of a pair the true and the generated x_t have the same noise of the posterior,
            so that they differ by what x_0 makes of them alone.

    Raises:
        UserError: a value is out of its range.
    """

    gamma: float
    r1_every: int = 1
    augmentation: int = 0
    groups_of_one_time: bool = False
    common_noise: bool = False

    def __post_init__(self) -> None:
        if not 0.0 <= self.gamma < math.inf:
            raise UserError(f"gamma must be 0 or more, not {self.gamma}")
        if self.r1_every < 1 or self.augmentation < 0:
            raise UserError("r1_every must be 1 or more, augmentation 0 or more")


class DenoisingGANLearner(Learner):
    """Moves the discriminator, then the generator, once each a step, on pairs of their own times.

    Args:
        model: the generator and its process.
        discriminator: maps x_t, t and x_{t+1} to N logits; with augmentation x_t and its time.
        settings: of the game.
        of_generator: learning rate and so on; its average is what is exported.
        of_discriminator: the same of the discriminator.
        seed: of all noise, this worker's own.
        computing: how the arithmetic is carried out.

    Raises:
        UserError: augmentation of a model of more steps than one, or common noise of a model whose
            x_t has none.
    """

    def __init__(
        self,
        model: DenoisingGAN,
        discriminator: nn.Module,
        settings: AdversarialSettings,
        of_generator: Optimisation,
        of_discriminator: Optimisation,
        seed: int,
        computing: Computing,
    ) -> None:
        super().__init__(computing, seed)
        if settings.augmentation and model.process.steps > 1:
            raise UserError("augmentation by diffusion is for a generator of 1 step")
        if settings.common_noise and model.predicts == "previous":
            raise UserError("direct denoising draws no noise that could be common")
        self.settings = settings
        self.model = computing.install(model, model.generator)
        self.discriminator = computing.install(discriminator, discriminator)
        self.noising = _noising(model.process, settings.augmentation)
        if self.noising is not None:
            self.noising.to(self.device)
        scaled = computing.scaled
        self.generating = Updater(
            model.generator, of_generator.schedule, **of_generator.arguments, scaled=scaled
        )
        self.judging = Updater(
            discriminator, of_discriminator.schedule, **of_discriminator.arguments, scaled=scaled
        )
        self.shown = _Shown().to(self.device)
        self._exported = DenoisingGAN(
            self.generating.average,
            model.shape,
            model.process,
            model.predicts,
            model.latent,
            model.states.scale,
        )

    def training_step(self, batch: Batch, step: int) -> Metrics:
        self.model.train()
        self.discriminator.train()
        judged = self.descend(self.judging, batch, step, partial(self._judge, step=step))
        judged["gradient_norm_discriminator"] = self.judging.gradient_norm()
        generated = self.descend(self.generating, batch, step, self._generate)
        return judged | generated | {"gradient_norm": self.generating.gradient_norm()}

    def exported(self) -> nn.Module:
        return self._exported.eval()

    def parts(self) -> Mapping[str, Stateful]:
        return {"generating": self.generating, "judging": self.judging, "shown": self.shown}

    def _judge(self, part: Batch, step: int) -> tuple[Tensor, Metrics]:
        """Line 5: the discriminator's loss, with R1 where it is due."""
        settings = self.settings
        now, after, t, noise = self._pairs(part)
        with torch.no_grad(), self.computing.autocast():
            made = self.model.step(after, t, self.generator, noise)
        due = settings.gamma > 0.0 and step % settings.r1_every == 0
        seen, at = self._shown(now, t)
        seen.requires_grad_(due)
        with self.computing.autocast():
            with self.computing.eager() if due else nullcontext():
                true = self._logits(seen, at, after)
            generated = self._logits(*self._shown(made, t), after)
        losses = told_apart(true, generated)
        loss = losses.mean()
        metrics = {
            "loss_discriminator": loss.detach(),
            "logit_true": true.detach().mean(),
            "logit_generated": generated.detach().mean(),
            **self._by_time(losses.detach(), t),
        }
        if due:
            r1 = 0.5 * settings.gamma * squared_slope(true, seen).mean()
            loss = loss + settings.r1_every * r1
            self.shown.r1 = r1.detach()
        return loss, metrics | {"r1": self.shown.r1}

    def _generate(self, part: Batch) -> tuple[Tensor, Metrics]:
        """Line 6: the generator's loss."""
        _, after, t, _ = self._pairs(part)
        with self.computing.autocast(), frozen(self.discriminator):
            made = self.model.step(after, t, self.generator)
            loss = fooled(self._logits(*self._shown(made, t), after)).mean()
        return loss, {"loss_generator": loss.detach()}

    def _pairs(self, part: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """x_t, x_{t+1} and t of data (lines 1 and 2), and the posterior's noise if it is common."""
        process = self.model.process
        clean = self.model.states.of(as_model_input(part.x, self.device))
        t = process.times(len(clean), self.generator, self._group(len(clean)))
        if not self.settings.common_noise:
            return *process.pair(clean, t, self.generator), t, None
        noise = torch.empty_like(clean).normal_(generator=self.generator)
        return *process.pair_by_posterior(clean, t, noise, self.generator), t, noise

    def _group(self, count: int) -> int:
        return group_size(count) if self.settings.groups_of_one_time else 1

    def _shown(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """What the discriminator sees of x_t, and the time that it is told."""
        if self.noising is None:
            return x, t
        # Not the last step, in which nothing of the items is left.
        at = self.noising.times(len(t), self.generator, self._group(len(t)))
        noise = torch.empty_like(x).normal_(generator=self.generator)
        return self.noising.diffuse(x, at, noise), at

    def _logits(self, x: Tensor, t: Tensor, after: Tensor) -> Tensor:
        logits: Tensor = self.discriminator(x, t, None if self.noising is not None else after)
        return logits

    def _by_time(self, losses: Tensor, t: Tensor) -> Metrics:
        """The discriminator's mean loss at each t (Figure 6.10); 0 where the batch had none."""
        steps = self.model.process.steps
        if steps == 1:
            return {}
        sums = losses.new_zeros(steps).index_add_(0, t, losses)
        counts = losses.new_zeros(steps).index_add_(0, t, torch.ones_like(losses))
        means = sums / counts.clamp_min(1.0)
        return {f"loss_discriminator_t{i}": means[i] for i in range(steps)}


class _Shown(nn.Module):
    """What is shown until there is news of it; saved, so that a resumed run shows the same."""

    r1: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("r1", torch.zeros(()))


def _noising(process: DiffusionProcess, steps: int) -> DiffusionProcess | None:
    """The diffusion of an augmentation, of the same schedule."""
    return DiffusionProcess(replace(process.settings, steps=steps)) if steps else None
