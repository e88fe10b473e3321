"""What learners share: Adam with its schedule, clipping by Adam's own statistics, averages."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from components.learners.parallel import average_gradients


@dataclass(frozen=True)
class Halving:
    """A decay in stairs.

    Attributes:
        every: steps after the warm-up in which the learning rate stays; then it is halved.
    """

    every: int


@dataclass(frozen=True)
class Schedule:
    """Learning rate over a training.

    Attributes:
        peak: the learning rate after the warm-up.
        warmup_steps: steps of linear rise from 0.
        decay: shape of the way from there to the last step; to 0 unless constant or by halving.
        steps: the training's length.
    """

    peak: float
    warmup_steps: int
    decay: Literal["constant", "cosine", "linear"] | Halving
    steps: int

    def at(self, step: int) -> float:
        """Learning rate of the update that follows ``step`` updates.

        >>> Schedule(1.0, 0, "cosine", 10).at(5)
        0.5
        """
        if step < self.warmup_steps:
            return self.peak * (step + 1) / self.warmup_steps
        if isinstance(self.decay, Halving):
            return self.peak * 0.5 ** ((step - self.warmup_steps) // self.decay.every)
        past = min(1.0, (step - self.warmup_steps) / max(1, self.steps - self.warmup_steps))
        if self.decay == "constant":
            return self.peak
        if self.decay == "linear":
            return self.peak * (1.0 - past)
        return self.peak * 0.5 * (1.0 + math.cos(math.pi * past))


@dataclass(frozen=True)
class Optimisation:
    """How some parameters are moved.

    Attributes:
        schedule: learning rate.
        arguments: further arguments of `Updater`.
    """

    schedule: Schedule
    arguments: Mapping[str, Any]


class Updater:
    """Adam on a network: averages gradients over workers, clips, updates, averages weights.

    Args:
        network: whose parameters are learned.
        schedule: the learning rate.
        betas: Adam's decay rates.
        weight_decay: coefficient of ‖θ‖²/2, added to the gradient as in the dissertation's Adam.
        clip_deviations: clip each gradient's element at this many of Adam's standard deviations;
            None: no clipping.
        ema: decay of the averaged weights per step, 0 for none.
        scaled: whether the passes are in float16, whose losses are scaled.
    """

    def __init__(
        self,
        network: nn.Module,
        schedule: Schedule,
        betas: tuple[float, float],
        weight_decay: float,
        clip_deviations: float | None,
        ema: float,
        scaled: bool = False,
    ) -> None:
        self.network, self.schedule = network, schedule
        self.clip_deviations, self.ema = clip_deviations, ema
        self.parameters = [p for p in network.parameters() if p.requires_grad]
        self.adam = torch.optim.Adam(
            self.parameters, lr=schedule.peak, betas=betas, weight_decay=weight_decay, foreach=True
        )
        self.average = copy.deepcopy(network).requires_grad_(False).eval() if ema else network
        device = next(network.parameters()).device
        self.scaler = torch.amp.GradScaler(device.type, enabled=scaled)

    def begin(self) -> None:
        """Forget the gradients of the update before."""
        self.adam.zero_grad(set_to_none=True)

    def accumulate(self, loss: Tensor) -> None:
        """Differentiate a loss and add its gradient to those since `begin`.

        Args:
            loss: scalar; all together are the mean over this worker's items.
        """
        self.scaler.scale(loss).backward()

    def update(self, step: int) -> None:
        """Move the parameters against the gradients, averaged over the workers.

        Args:
            step: number of updates done before.
        """
        # Before the scaler looks at them, so that all workers see the same overflow and leave out
        # the same update.
        average_gradients(self.parameters)
        self.move(step)
        self.scaler.update()

    def move(self, step: int) -> None:
        """What is left of `update` for gradients that are averaged and a scale that is shared.

        Args:
            step: number of updates done before.
        """
        self.scaler.unscale_(self.adam)
        if self.clip_deviations is not None:
            clip_by_adam(self.adam, self.clip_deviations)
        for group in self.adam.param_groups:
            group["lr"] = self.schedule.at(step)
        self.scaler.step(self.adam)
        if self.ema:
            self._average(step)

    def gradient_norm(self) -> Tensor:
        """Euclidean norm of the last update's gradients together, a scalar; 0 if it was left out.

        An overflow of float16 leaves an update out and is no divergence.
        """
        norm = gradient_norm(self.parameters)
        return norm.nan_to_num(0.0, 0.0, 0.0) if self.scaler.is_enabled() else norm

    def state_dict(self) -> dict[str, Any]:
        average = self.average.state_dict() if self.ema else {}
        return {
            "network": self.network.state_dict(),
            "adam": self.adam.state_dict(),
            "average": average,
            "scaler": self.scaler.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.adam.load_state_dict(state["adam"])
        self.scaler.load_state_dict(state["scaler"])
        if self.ema:
            self.average.load_state_dict(state["average"])

    @torch.no_grad()
    def restart_average(self) -> None:
        """Let the average begin again at the present weights."""
        if self.ema:
            self.average.load_state_dict(self.network.state_dict())

    @torch.no_grad()
    def _average(self, step: int) -> None:
        # Young averages forget faster, or they would remember the random initial weights.
        decay = min(self.ema, (1 + step) / (10 + step))
        old: list[Tensor] = list(self.average.parameters())
        new: list[Tensor] = list(self.network.parameters())
        torch._foreach_lerp_(old, new, 1.0 - decay)
        for kept, buffer in zip(self.average.buffers(), self.network.buffers(), strict=True):
            kept.copy_(buffer)


class Updaters:
    """Several optimisers that are moved by the gradients of one loss, each by its own schedule.

    Args:
        members: of disjoint parameters; all of them share the first one's scale of float16 losses.
    """

    def __init__(self, members: Sequence[Updater]) -> None:
        self.members = list(members)
        for updater in self.members:
            updater.scaler = self.members[0].scaler

    def begin(self) -> None:
        """Forget the gradients of the update before."""
        for updater in self.members:
            updater.begin()

    def accumulate(self, loss: Tensor) -> None:
        """Differentiate a loss, once for all of them; see `Updater.accumulate`."""
        self.members[0].accumulate(loss)

    def update(self, step: int) -> None:
        """Move all parameters or, after an overflow anywhere, none; see `Updater.update`."""
        parameters = [p for updater in self.members for p in updater.parameters]
        average_gradients(parameters)
        scaler = self.members[0].scaler
        if scaler.is_enabled():
            _share_overflow(parameters)
        for updater in self.members:
            updater.move(step)
        scaler.update()

    def state_dict(self) -> list[dict[str, Any]]:
        return [updater.state_dict() for updater in self.members]

    def load_state_dict(self, state: Sequence[Mapping[str, Any]]) -> None:
        for updater, own in zip(self.members, state, strict=True):
            updater.load_state_dict(own)


@torch.no_grad()
def _share_overflow(parameters: Iterable[nn.Parameter]) -> None:
    """Make all gradients NaN if one of them is not finite, without waiting for the device.

    A scaler leaves out the update of that optimiser alone whose own gradients overflow.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    # The largest element: a sum of squares of scaled gradients could overflow by itself.
    largest = torch.nn.utils.get_total_norm(gradients, norm_type=torch.inf, foreach=True)
    torch._foreach_add_(gradients, 0.0 * largest)


@torch.no_grad()
def clip_by_adam(adam: torch.optim.Adam, deviations: float) -> None:
    """Clip gradients to a number of standard deviations of Adam's second moment, in place.

    Dissertation, "Training of energy function", after Du and Mordatch,
    https://arxiv.org/abs/1903.08689. The bound of an element is deviations · √(v / (1 - β₂ᵗ)).
    Elements that Adam has not seen move yet (v = 0) are left alone: a bound of zero would keep
    them from ever moving.

    Args:
        adam: the optimiser, before its step; nothing happens before its first.
        deviations: width of the band.
    """
    gradients, bounds = [], []
    for group in adam.param_groups:
        decay = group["betas"][1]
        for parameter in group["params"]:
            state = adam.state.get(parameter)
            if not state or parameter.grad is None:
                continue
            correction = 1.0 - decay ** state["step"]
            bound = (state["exp_avg_sq"] / correction).sqrt_().mul_(deviations)
            bounds.append(bound.masked_fill_(bound == 0.0, torch.inf))
            gradients.append(parameter.grad)
    if gradients:
        torch._foreach_clamp_max_(gradients, bounds)
        torch._foreach_clamp_min_(gradients, torch._foreach_neg(bounds))


def gradient_norm(parameters: Iterable[nn.Parameter]) -> torch.Tensor:
    """Euclidean norm of all gradients together, a scalar."""
    return torch.nn.utils.get_total_norm(
        [p.grad for p in parameters if p.grad is not None], foreach=True
    )
