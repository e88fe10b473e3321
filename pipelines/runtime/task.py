"""What a training loop is given, and what it leaves: the contract of `pipelines.runtime.loop`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from torch import nn

from components.datasets.loading import Batches
from components.learners.learner import Learner

State = dict[str, Any]


@dataclass(frozen=True)
class Validation:
    """What a look at the model between steps found.

    Attributes:
        metrics: what to draw as curves.
        score: the number that the kept checkpoint has the lowest of; None: nothing to choose by.
        picture: uint8 image H×W×3 to show beside the curves.
    """

    metrics: dict[str, float]
    score: float | None = None
    picture: np.ndarray[Any, Any] | None = None


@dataclass(frozen=True)
class Task:
    """A learner, its data and how to judge it on the way.

    Attributes:
        learner: this worker's.
        batches: this worker's.
        validate: judges a model after a step; the first worker calls it, for all.
    """

    learner: Learner
    batches: Batches
    validate: Callable[[nn.Module, int], Validation] | None = None


class CheckpointStore(Protocol):
    """Where states survive the process."""

    def load(self) -> State | None:
        """The newest whole state, or None at a fresh start."""

    def save(self, step: int, state: State) -> None:
        """Keep a state, whole or not at all."""


class Reporter(Protocol):
    """Who is told how the training goes."""

    def started(self) -> None: ...

    def said(self, line: str) -> None:
        """Something happened that the user must know."""

    def progress(self, step: int, steps: int, note: str) -> None: ...

    def metrics(self, step: int, values: Mapping[str, float]) -> None: ...

    def picture(self, step: int, name: str, image: np.ndarray[Any, Any]) -> None: ...


@dataclass
class Outcome:
    """What a training leaves behind.

    Attributes:
        step: last step done.
        kept_step: step of the exported weights.
        kept_score: their score, None without one.
        rollbacks: divergences that were rolled back, each as (step, reason).
        history: rows of the curves, each with its step.
        abandoned: rows of the attempts that were rolled back, with the number of the ``attempt``.
        finished: False if it ended on a divergence that no rollback cured.
        seconds: of training, validation and rollbacks included, in all processes that it took; not
            what a killed one did after its last checkpoint. Two runs are equal whatever they took.
    """

    step: int = 0
    kept_step: int = 0
    kept_score: float | None = None
    rollbacks: list[tuple[int, str]] = field(default_factory=list)
    history: list[dict[str, float]] = field(default_factory=list)
    abandoned: list[dict[str, float]] = field(default_factory=list)
    finished: bool = True
    seconds: float = field(default=0.0, compare=False)
