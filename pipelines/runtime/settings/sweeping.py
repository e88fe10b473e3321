"""Settings of sweeps: what is varied, how it is searched, by what a trial is judged."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from pipelines.runtime.settings.base import Amount, Count, NonNegative, Positive, Settings
from pipelines.runtime.settings.selecting import EnergyDistanceSelect, FrechetSelect

Value = bool | int | float | str | list[int] | list[float] | None


class _Range(Settings):
    """Values between two ends."""

    low: float
    high: float

    @model_validator(mode="after")
    def _low_is_below_high(self) -> _Range:
        if not self.low < self.high:
            raise ValueError(
                f"a range whose low end ({self.low}) is below its high end ({self.high})"
            )
        return self


class UniformSpace(_Range):
    """Real numbers, all equally likely."""

    kind: Literal["uniform"]


class LogUniformSpace(_Range):
    """Real numbers, all orders of magnitude equally likely."""

    kind: Literal["log-uniform"]
    low: Positive
    high: Positive


class IntegerSpace(_Range):
    """Whole numbers, both ends among them."""

    kind: Literal["integer"]
    low: int
    high: int


class LogIntegerSpace(_Range):
    """Whole numbers, both ends among them, all orders of magnitude equally likely."""

    kind: Literal["log-integer"]
    low: Count
    high: Count


class ChoiceSpace(Settings):
    """Values one by one."""

    kind: Literal["choice"]
    values: Annotated[list[Value], Field(min_length=1)]


Space = Annotated[
    UniformSpace | LogUniformSpace | IntegerSpace | LogIntegerSpace | ChoiceSpace,
    Field(discriminator="kind"),
]


class GridSearch(Settings):
    """Every combination of the values; spaces of kind `choice` only."""

    kind: Literal["grid"]


class RandomSearch(Settings):
    """Draws from the spaces, each without regard to the others."""

    kind: Literal["random"]
    trials: Count  # at the most
    seed: Amount


class OptunaSearch(Settings):
    """Optuna's tree-structured Parzen estimator: draws where earlier trials were good."""

    kind: Literal["optuna"]
    trials: Count  # at the most
    seed: Amount


Search = Annotated[GridSearch | RandomSearch | OptunaSearch, Field(discriminator="kind")]


class NoScheduler(Settings):
    """Every trial runs to its end."""

    kind: Literal["none"]


class ASHAScheduler(Settings):
    """Asynchronous successive halving: at each rung only the best trials go on."""

    kind: Literal["asha"]
    grace_steps: Count  # no trial is stopped before; the first rung
    reduction: Annotated[int, Field(ge=2)]  # one trial of so many goes on; factor between rungs


Scheduler = Annotated[NoScheduler | ASHAScheduler, Field(discriminator="kind")]


class Resources(Settings):
    """What the trials may take. Changes no trial's result."""

    cpus: Count  # of a trial; its torch threads
    gpus: NonNegative  # of a trial; less than 1 shares one
    at_once: Count  # trials that run at the same time, at the most


class SamplingTrial(Settings):
    """A trained model, sampled by other settings and judged on held-out items: no training."""

    kind: Literal["sampling"]
    draws: Count  # independent draws of judge.count items


class TrainingTrial(Settings):
    """A model with `select`, trained by other settings and judged at its validations."""

    kind: Literal["training"]
    scheduler: Scheduler


class Sweep(Settings):
    """Trials of a model's settings."""

    model: str  # entry of `sample`, `compose` or `pretrain`: what is sampled or trained
    reads: str  # folder of models/ that must be there: a composition's base, or else the model
    data: str
    trial: Annotated[SamplingTrial | TrainingTrial, Field(discriminator="kind")]
    space: Annotated[dict[str, Space], Field(min_length=1)]  # path in this file: its values
    fixed: dict[str, Any]  # path in this file: the value in all trials, instead of the file's
    judge: Annotated[FrechetSelect | EnergyDistanceSelect, Field(discriminator="kind")]
    search: Search
    resources: Resources

    @model_validator(mode="after")
    def _grid_has_values(self) -> Sweep:
        ranges = [path for path, space in self.space.items() if space.kind != "choice"]
        if self.search.kind == "grid" and ranges:
            raise ValueError(f"spaces of kind choice for a grid search; {ranges[0]} is a range")
        return self

    @model_validator(mode="after")
    def _nothing_is_fixed_and_varied(self) -> Sweep:
        both = self.space.keys() & self.fixed.keys()
        if both:
            raise ValueError(f"either varied or fixed, not both: {min(both)}")
        return self
