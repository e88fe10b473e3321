"""Learning the energy of an exponential tilt by maximum likelihood (dissertation, 4.3.3).

The gradient of the mean log-likelihood is, Eq. 4.17, the energy's gradient on chains minus that on
data. An optional warm start fits the energy first to the density ratio of data and base samples by
logistic regression (noise-contrastive estimation, Eq. 1.12 and 2.43; Gutmann and Hyvärinen 2012),
which needs no chains.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from components.datasets.loading import Batch
from components.learners.computing import Computing
from components.learners.learner import Learner, Metrics, Stateful, as_model_input
from components.learners.optimisation import Schedule, Updater
from components.learners.parallel import broadcast_module
from components.learners.phases import follow, initialise, phase_energies, phase_metrics, run_away
from components.models.vaebm import VAEBM
from components.networks.spectral import SpectralRegulariser
from components.samplers.langevin import LangevinSettings
from components.samplers.replay_buffer import ReplayBuffer


class LogNormaliser(nn.Module):
    """c of exp(c - f(x)) = p_data(x) / p_base(x) (Gutmann and Hyvärinen 2012), a learned number.

    Args:
        learned: False: 0 for ever.
    """

    PACE = 50.0
    """Nats for one unit of the parameter: Adam moves weights by thousandths, c by nats."""

    def __init__(self, learned: bool) -> None:
        super().__init__()
        self.scaled = nn.Parameter(torch.zeros(()), requires_grad=learned)

    def forward(self) -> Tensor:
        return self.PACE * self.scaled


@dataclass(frozen=True)
class TiltingSettings:
    """What the energy's training is governed by.

    Attributes:
        langevin: the negative phase's chain.
        energy_magnitude: coefficient of the mean of f² over data and chains.
        spectral_penalty: coefficient of the sum of the layers' spectral norms.
        warm_start_steps: steps of the noise-contrastive start.
        warm_start_rate: its learning rate.
        warm_start_normaliser: whether the warm start learns a log normaliser beside f, which an
            energy that cannot be negative needs to tell data from base samples.
        max_gap: mean energy of chains over that of data, in nats, that counts as run away.
    """

    langevin: LangevinSettings
    energy_magnitude: float
    spectral_penalty: float
    warm_start_steps: int
    warm_start_rate: float
    warm_start_normaliser: bool
    max_gap: float


class TiltingLearner(Learner):
    """Trains f of p(x) ∝ p_base(x) exp(-f(x)) with the base frozen.

    Args:
        model: base and energy.
        settings: the objective and its chains.
        schedule: learning rate of the likelihood's steps; counted after the warm start.
        optimiser: further arguments of `Updater`.
        replay: buffer of ε_z for persistent chains, None for chains from noise.
        seed: of the chains' noise, this worker's own.
        computing: how the arithmetic is carried out; chains have a number format of their own.
    """

    def __init__(
        self,
        model: VAEBM,
        settings: TiltingSettings,
        schedule: Schedule,
        optimiser: Mapping[str, Any],
        replay: ReplayBuffer | None,
        seed: int,
        computing: Computing,
    ) -> None:
        super().__init__(computing, seed)
        self.settings, self.replay = settings, replay
        self.model = computing.install(model, model.energy, model.base.decoder)
        scaled = computing.scaled
        self.updater = Updater(self.model.energy, schedule, **optimiser, scaled=scaled)
        self.normaliser = LogNormaliser(settings.warm_start_normaliser).to(computing.device)
        self.warm_updater = Updater(
            nn.ModuleList([self.model.energy, self.normaliser]),
            Schedule(settings.warm_start_rate, 0, "cosine", settings.warm_start_steps),
            betas=(0.9, 0.999),
            weight_decay=optimiser["weight_decay"],
            clip_deviations=None,
            ema=0.0,
            scaled=scaled,
        )
        self.spectral = (
            SpectralRegulariser(self.model.energy, torch.Generator().manual_seed(seed))
            if settings.spectral_penalty
            else None
        )
        if self.spectral is not None:
            broadcast_module(self.spectral)
        self._exported = VAEBM(model.base, self.updater.average, model.space)

    def prepare(self, batch: Batch) -> None:
        """Initialise weight-normalised layers from one global batch, the same on all workers."""
        initialise(self.model.energy, batch, self.computing)
        self.updater.restart_average()

    def training_step(self, batch: Batch, step: int) -> Metrics:
        self.model.train()
        follow(self.model.energy, batch, self.computing)
        warm = self.settings.warm_start_steps
        if step < warm:
            metrics = self.descend(self.warm_updater, batch, step, self._contrast)
            self.updater.restart_average()
            return metrics | {"gradient_norm": self.warm_updater.gradient_norm()}
        if step == warm:
            self.updater.restart_average()
        loss_of = partial(self._likelihood, step=step - warm)
        metrics = self.descend(self.updater, batch, step - warm, loss_of)
        return metrics | {"gradient_norm": self.updater.gradient_norm()}

    def exported(self) -> nn.Module:
        return self._exported.eval()

    def diverged(self, metrics: Mapping[str, float]) -> str | None:
        return super().diverged(metrics) or run_away(metrics, self.settings.max_gap)

    def parts(self) -> Mapping[str, Stateful]:
        needed: dict[str, Stateful] = {
            "updater": self.updater,
            "normaliser": self.normaliser,
            "warm_adam": self.warm_updater.adam,
            "warm_scaler": self.warm_updater.scaler,
        }
        if self.spectral is not None:
            needed["spectral"] = self.spectral
        if self.replay is not None:
            needed["replay"] = self.replay
        return needed

    def _contrast(self, part: Batch) -> tuple[Tensor, Metrics]:
        """The loss of logistic regression, by which exp(c - f) becomes p_data / p_base."""
        data = as_model_input(part.x, self.device)
        with self.computing.autocast():
            base = self.model.base.sample(len(data), self.generator)
        energy_data, energy_base = phase_energies(self.model.energy, data, base, self.computing)
        c = self.normaliser()
        loss = F.softplus(energy_data - c).mean() + F.softplus(c - energy_base).mean()
        metrics = phase_metrics(loss, energy_data, energy_base)
        return loss + self._penalty(energy_data - c, energy_base - c), metrics

    def _likelihood(self, part: Batch, step: int) -> tuple[Tensor, Metrics]:
        """A loss with the gradient of Eq. 4.17; chains' energies are held near 0 on average."""
        data = as_model_input(part.x, self.device)
        # Asked for by identity: a buffer that holds nothing yet is false.
        buffer = self.replay
        start = None if buffer is None else buffer.draw(len(data), step, self.generator)
        chains = self.model.sample(len(data), self.generator, self.settings.langevin, noise_z=start)
        if buffer is not None:
            buffer.push(chains.noise, self.generator)
        energy_data, energy_chain = phase_energies(
            self.model.energy, data, chains.items, self.computing
        )
        loss = energy_data.mean() - energy_chain.mean()
        metrics = phase_metrics(loss, energy_data, energy_chain)
        return loss + self._penalty(energy_data, energy_chain), metrics

    def _penalty(self, data: Tensor, negative: Tensor) -> Tensor:
        """Energy magnitude, and the layers' spectral norms where that is asked for."""
        magnitude = torch.cat([data, negative]).square().mean()
        penalty = self.settings.energy_magnitude * magnitude
        if self.spectral is not None:
            penalty = penalty + self.settings.spectral_penalty * self.spectral()
        return penalty
