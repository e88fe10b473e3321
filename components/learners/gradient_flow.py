"""Learning the energy of a gradient flow, as an EBM is or as a flow is (dissertation, 5.3, 5.5.1).

As an EBM: Eq. 5.1 with samples of the flow as the negative phase, which takes them for samples of
exp(-f) / Z. As a flow: the log-likelihood of Eq. 5.7 itself, through the reverse solve.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from components.datasets.loading import Batch
from components.errors import UserError
from components.learners.adversarial import between, squared_slope
from components.learners.computing import Computing
from components.learners.learner import Learner, Metrics, Stateful, as_model_input
from components.learners.optimisation import Schedule, Updater
from components.learners.phases import phase_metrics, run_away
from components.models.gradient_flow import GradientFlow
from components.networks.mlp import FullyConnectedEnergy
from components.samplers.frozen import frozen
from components.samplers.gradient_flow import Backward, FlowError, push


@dataclass(frozen=True)
class FlowLearning:
    """What the energy's training is governed by.

    Attributes:
        objective: ``energy``: Eq. 5.1; ``likelihood``: Eq. 5.7.
        backward: of the likelihood, see `components.samplers.gradient_flow.pull`.
        probes: of the likelihood's Hutchinson estimate, 0 for the exact trace.
        max_gap: of the energy objective: mean energy of samples over that of data, in the energy's
            own unit, that counts as run away.
        tolerance: of dopri5 in training; None: the model's, by which it is sampled and judged.
        equal_steps: of the solver in training, instead of dopri5 (see `FlowSettings`). A step's
            noise is far above the error of either, and fewer evaluations make it cheaper.
        max_nll: of the likelihood: nats an item that count as run away, as where the energy has
            grown too steep for equal steps.
        gamma: γ of γ/2 mean ‖∇f‖² over data and as many points on the lines from them to samples
            (https://arxiv.org/abs/1801.04406, https://arxiv.org/abs/1902.03984), added to the
            energy objective; 0: none, as in 5.5.1. It damps the game's going to and fro about the
            energy it seeks, which else steepens.

    Raises:
        UserError: a value is out of its range.
    """

    objective: Literal["energy", "likelihood"]
    backward: Backward
    probes: int
    max_gap: float
    tolerance: float | None = None
    equal_steps: int | None = None
    max_nll: float = math.inf
    gamma: float = 0.0

    def __post_init__(self) -> None:
        if self.objective not in ("energy", "likelihood"):
            raise UserError(f"a flow's objective is energy or likelihood, not {self.objective}")
        if self.backward not in ("adjoint", "direct"):
            raise UserError(f"a flow's backward is adjoint or direct, not {self.backward}")
        if self.tolerance is not None and not self.tolerance > 0.0:
            raise UserError(f"a flow's tolerance must be positive, not {self.tolerance}")
        if self.equal_steps is not None and self.equal_steps < 1:
            raise UserError(f"a flow's equal_steps must be 1 or more, not {self.equal_steps}")
        if self.probes < 0 or not self.max_gap > 0.0:
            raise UserError("a flow needs probes of 0 or more and a positive max_gap")
        if not 0.0 <= self.gamma < math.inf:
            raise UserError(f"a flow's gamma must be 0 or more, not {self.gamma}")


class GradientFlowLearner(Learner):
    """Trains f of dx/dt = -∇f(x).

    Args:
        model: the flow.
        settings: the objective.
        schedule: the learning rate.
        optimiser: further arguments of `Updater`.
        seed: of the noise and the probes, this worker's own.
        computing: how the arithmetic is carried out; energies are differentiated twice, so that
            they are not compiled. With bfloat16 it is the products in the hidden layers that are
            (see `FlowSettings`), and the ODE's state stays float32.

    Raises:
        UserError: a number format that the objective, the solver or the energy cannot take.
    """

    def __init__(
        self,
        model: GradientFlow,
        settings: FlowLearning,
        schedule: Schedule,
        optimiser: Mapping[str, Any],
        seed: int,
        computing: Computing,
    ) -> None:
        super().__init__(computing, seed)
        products = computing.precision
        if products not in ("float32", "bfloat16") or (
            products == "bfloat16" and not _may_round(model.energy, settings)
        ):
            raise UserError(
                f"this gradient flow is trained in float32, not in {products}; bfloat16 is for "
                "the likelihood of a fully-connected energy with probes: 0 in equal steps"
            )
        self.settings = settings
        self.model = computing.install(model)
        self._flow = replace(
            model.settings,
            tolerance=settings.tolerance or model.settings.tolerance,
            equal_steps=settings.equal_steps or model.settings.equal_steps,
            products=products,
        )
        self.updater = Updater(self.model.energy, schedule, **optimiser)
        self._exported = GradientFlow(self.updater.average, model.shape, model.settings)

    def training_step(self, batch: Batch, step: int) -> Metrics:
        self.model.train()
        loss_of = self._contrast if self.settings.objective == "energy" else self._likelihood
        metrics = self.descend(self.updater, batch, step, loss_of)
        return metrics | {"gradient_norm": self.updater.gradient_norm()}

    def exported(self) -> nn.Module:
        return self._exported.eval()

    def diverged(self, metrics: Mapping[str, float]) -> str | None:
        how, nll = self.settings, metrics.get("nll", -math.inf)
        beyond = f"nll {nll:.3g} beyond {how.max_nll:.3g} nats" if nll > how.max_nll else None
        return super().diverged(metrics) or run_away(metrics, how.max_gap) or beyond

    def parts(self) -> Mapping[str, Stateful]:
        return {"updater": self.updater}

    def _contrast(self, part: Batch) -> tuple[Tensor, Metrics]:
        """A loss with the gradient of Eq. 5.1, samples being constants in it, and its penalty."""
        data = as_model_input(part.x, self.device)
        noise = self.model.noise(len(data), self.generator)
        try:
            with frozen(self.model.energy):
                samples, nfe = push(self.model.energy, noise, self._flow)
        except FlowError:
            samples, nfe = noise * torch.nan, 0
        energies = self.model.energy(torch.cat([data, samples]))
        of_data, of_samples = energies.split([len(data), len(samples)])
        loss = of_data.mean() - of_samples.mean()
        metrics = phase_metrics(loss, of_data, of_samples)
        metrics["nfe"] = torch.tensor(float(nfe), device=self.device)
        if self.settings.gamma:
            seen = torch.cat([data, between(data, samples, self.generator)]).requires_grad_()
            slope = squared_slope(self.model.energy(seen), seen).mean()
            loss, metrics["slope"] = loss + 0.5 * self.settings.gamma * slope, slope.detach()
        return loss, metrics

    def _likelihood(self, part: Batch) -> tuple[Tensor, Metrics]:
        """Minus the mean log-likelihood, nats."""
        data = as_model_input(part.x, self.device)
        how = self.settings
        try:
            log_prob, way = self.model.log_prob_and_way(
                data, how.probes, self.generator, how.backward, self._flow
            )
            loss, nfe = -log_prob.mean(), way.nfe
        except FlowError:
            # Not a number and not an exception: other workers wait for this one's gradients, and
            # the loop knows what to do with a loss that is not finite.
            loss, nfe = self.model.energy(data).mean() * torch.nan, 0
        return loss, {
            "nll": loss.detach(),
            "nfe": torch.tensor(float(nfe), device=self.device),
        }


def _may_round(energy: nn.Module, settings: FlowLearning) -> bool:
    """Whether products in bfloat16 are known to leave the objective's gradient what it is."""
    likelihood = settings.objective == "likelihood" and not settings.probes
    equal = settings.equal_steps is not None
    return likelihood and equal and isinstance(energy, FullyConnectedEnergy)
