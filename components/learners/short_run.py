"""Learning an energy whose finite sampler is the generator (dissertation, chapter 5).

The gradient is that of maximum likelihood, Eq. 5.1, with short-run chains as negatives. With the
generator loss of Eq. 5.13 the same chains are pushed down the energy as a Wasserstein GAN's
generator is, through all of their steps; Eq. 5.14 is both together, of one batch and one set of
parameters.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from components.datasets.loading import Batch
from components.errors import UserError
from components.learners.computing import Computing
from components.learners.learner import Learner, Metrics, Stateful, as_model_input
from components.learners.optimisation import Schedule, Updater
from components.learners.phases import follow, initialise, phase_energies, phase_metrics, run_away
from components.models.short_run import ShortRunEBM
from components.networks.normalisation import remembers
from components.samplers.frozen import frozen
from components.samplers.replay_buffer import ReplayBuffer


@dataclass(frozen=True)
class ShortRunSettings:
    """What the energy's training is governed by, beside the model's own sampler.

    Attributes:
        generator_weight: factor of the generator loss; 0: maximum likelihood alone, 1: Eq. 5.14.
        checkpoint: compute the sampler's steps again on the generator loss's way back, in place of
            keeping all that they computed.
        energy_magnitude: coefficient of the mean of E² over data and chains; 0 in chapter 5. The
            generator loss rewards ever steeper energies: on digits of 16×16 pixels Eq. 5.14 as it
            stands ran off to a gap of -34,000 nats in its first 120 steps before it came back, and
            with 0.001 to no more than -200.
        max_gap: mean energy of chains over that of data, in nats, that counts as run away.

    Raises:
        UserError: a value is out of its range.
    """

    generator_weight: float
    checkpoint: bool
    energy_magnitude: float
    max_gap: float

    def __post_init__(self) -> None:
        for name in ("generator_weight", "energy_magnitude"):
            value = getattr(self, name)
            if not 0.0 <= value < math.inf:
                raise UserError(f"{name} must be 0 or more, not {value}")
        if not self.max_gap > 0.0:
            raise UserError(f"max_gap must be positive, not {self.max_gap}")


class ShortRunLearner(Learner):
    """Trains the energy of a `ShortRunEBM`.

    Args:
        model: energy and sampler.
        settings: the objective.
        schedule: learning rate.
        optimiser: further arguments of `Updater`.
        replay: buffer of chains' last states, from which new chains may start; None, as in chapter
            5, for starts of the model's own law alone.
        seed: of the starts and the chains' noise, this worker's own.
        computing: how the arithmetic is carried out; chains have a number format of their own.

    Raises:
        UserError: a generator loss of a sampler or an energy through which it cannot be taken.
    """

    def __init__(
        self,
        model: ShortRunEBM,
        settings: ShortRunSettings,
        schedule: Schedule,
        optimiser: Mapping[str, Any],
        replay: ReplayBuffer | None,
        seed: int,
        computing: Computing,
    ) -> None:
        super().__init__(computing, seed)
        if settings.generator_weight and model.langevin.metropolis:
            raise UserError(
                "the generator loss needs a sampler that can be differentiated: set metropolis to "
                "false, or generator_weight to 0"
            )
        if settings.generator_weight and settings.checkpoint and remembers(model.energy):
            raise UserError(
                "steps computed again find another spectral normalisation: set checkpoint to "
                "false, or normalisation to none or weight"
            )
        self.settings, self.replay = settings, replay
        self.model = computing.install(model, model.energy)
        self.updater = Updater(model.energy, schedule, **optimiser, scaled=computing.scaled)
        self._exported = ShortRunEBM(self.updater.average, model.shape, model.langevin, model.start)

    def prepare(self, batch: Batch) -> None:
        """Initialise weight-normalised layers from one global batch, the same on all workers."""
        initialise(self.model.energy, batch, self.computing)
        self.updater.restart_average()

    def training_step(self, batch: Batch, step: int) -> Metrics:
        self.model.train()
        follow(self.model.energy, batch, self.computing)
        metrics = self.descend(self.updater, batch, step, partial(self._loss, step=step))
        return metrics | {"gradient_norm": self.updater.gradient_norm()}

    def exported(self) -> nn.Module:
        return self._exported.eval()

    def diverged(self, metrics: Mapping[str, float]) -> str | None:
        return super().diverged(metrics) or run_away(metrics, self.settings.max_gap)

    def parts(self) -> Mapping[str, Stateful]:
        updater: dict[str, Stateful] = {"updater": self.updater}
        return updater if self.replay is None else updater | {"replay": self.replay}

    def _loss(self, part: Batch, step: int) -> tuple[Tensor, Metrics]:
        """A loss with the gradient of Eq. 5.14.

        Its value is that of maximum likelihood: the last two terms of Eq. 5.14 are one number.
        """
        data = as_model_input(part.x, self.device)
        chains = self._chains(len(data), step)
        negative = self.model.to_items(chains.detach())
        energy_data, energy_chain = phase_energies(
            self.model.energy, data, negative, self.computing
        )
        loss = energy_data.mean() - energy_chain.mean()
        metrics = phase_metrics(loss, energy_data, energy_chain)
        magnitude = torch.cat([energy_data, energy_chain]).square().mean()
        loss = loss + self.settings.energy_magnitude * magnitude
        if self.settings.generator_weight:
            loss = loss + self.settings.generator_weight * self._generator_loss(chains)
        return loss, metrics

    def _chains(self, count: int, step: int) -> Tensor:
        """The last states of new chains; of the parameters' making where the objective asks."""
        start = self.model.noise(count, self.generator)
        # Asked for by identity: a buffer that holds nothing yet is false.
        if self.replay is not None:
            start = self.replay.draw(count, step, self.generator, start)
        if self.settings.generator_weight:
            chains = self.model.unroll(start, self.generator, self.settings.checkpoint)
        else:
            chains = self.model.generate(start, self.generator).state
        if self.replay is not None:
            self.replay.push(chains, self.generator)
        return chains

    def _generator_loss(self, chains: Tensor) -> Tensor:
        """E_sg(θ)(G_θ(x_0)), Eq. 5.13: the judging energy's parameters take no gradient of it."""
        with self.computing.autocast(), frozen(self.model.energy):
            return self.model.potential(chains).mean()
