"""Settings of gradient flows of energies of the plane (dissertation, 5.3, 5.5.1)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipelines.runtime.settings.base import Amount, Count, NonNegative, Positive, Settings, Share
from pipelines.runtime.settings.composing import FullyConnectedEnergyNetwork
from pipelines.runtime.settings.judging import Draws
from pipelines.runtime.settings.selecting import EnergyDistanceSelect, LastSelect
from pipelines.runtime.settings.training import Optimiser, Plan


class FlowODE(Settings):
    """The ODE dx/dt = -∇f(x) and its solver, dopri5 (Eq. 5.5)."""

    time: Positive  # T, where the flow ends
    tolerance: Positive  # of the error of a solver's step, relative and absolute
    max_steps: Count  # solver's steps after which it gives up


class AdaptiveSolver(Settings):
    """Steps that the solver chooses by their error (dopri5)."""

    kind: Literal["dopri5"]
    tolerance: Positive  # of the error of a step, relative and absolute


class EqualSteps(Settings):
    """Equal steps of the classical method of order 4, 4 evaluations each."""

    kind: Literal["equal-steps"]
    steps: Count


class EnergyObjective(Settings):
    """As an EBM is trained (Eq. 5.1), samples of the flow being the negative phase."""

    kind: Literal["energy"]
    max_gap: Positive  # mean energy of samples over that of data that counts as run away
    gamma: NonNegative  # of γ/2 ‖∇f‖² at data and on the way to samples; 0: none, as in 5.5.1


class LikelihoodObjective(Settings):
    """As a flow is trained: its own log-likelihood (Eq. 5.7)."""

    kind: Literal["likelihood"]
    backward: Literal["direct", "adjoint"]  # through the solver's steps, or by the adjoint ODE
    probes: Amount  # of Hutchinson's estimate of the trace; 0: the exact one
    max_nll: float = Field(allow_inf_nan=False)  # nats an item that count as run away


class LikelihoodSelect(Settings):
    """Export the weights whose flow finds the held-out points likeliest."""

    kind: Literal["likelihood"]
    count: Count  # held-out points judged at each validation


class FlowPretrain(Settings):
    """An energy of the plane whose gradient flow is the generator."""

    kind: Literal["gradient-flow"]
    data: str
    seed: Amount
    energy: FullyConnectedEnergyNetwork
    flow: FlowODE
    objective: Annotated[EnergyObjective | LikelihoodObjective, Field(discriminator="kind")]
    solver: Annotated[AdaptiveSolver | EqualSteps, Field(discriminator="kind")]  # of training alone
    optimiser: Optimiser
    plan: Plan
    select: Annotated[
        LastSelect | EnergyDistanceSelect | LikelihoodSelect, Field(discriminator="kind")
    ]

    @model_validator(mode="after")
    def _parts_go_together(self) -> FlowPretrain:
        objective, precision = self.objective, self.plan.precision
        rounds = (
            precision == "bfloat16"
            and isinstance(objective, LikelihoodObjective)
            and not objective.probes
            and isinstance(self.solver, EqualSteps)
        )
        if precision != "float32" and not rounds:
            raise ValueError(
                "plan.precision float32; bfloat16 is for objective.kind likelihood with probes 0 "
                "and solver.kind equal-steps"
            )
        held_out, select = self.plan.validation_count, self.select
        if isinstance(select, LikelihoodSelect) and select.count > held_out:
            raise ValueError(f"select.count {held_out} or less, as many as are held out")
        return self


class FlowSample(Draws):
    """Samples of a gradient flow."""

    flow: FlowODE | None  # another T or tolerance than the model's; null: the model's own


class FlowEvaluate(Settings):
    """Both densities of an energy, its flow's and exp(-f)/Z, and distances that need neither."""

    kind: Literal["flow-points"]
    data: str
    test_count: Count  # test points whose likelihoods are averaged
    tolerance: Positive  # of the reverse solve
    extent: Positive  # exp(-f) is integrated over [-extent, extent]²
    grid: Count  # nodes of a side, for the integral
    least_covered: Share  # estimated share of exp(-f) in the box, below which Z is not had
    distance_count: Count  # points of each set whose distance is taken
    directions: Count  # of the sliced Wasserstein distance
    mode_radius: Positive  # σ: farther from every mode is off-mode; for mixtures of Gaussians
    shown: Positive  # pictures cover [-shown, shown]²
    map: Count  # nodes of a side of the pictures' densities


class FlowRow(Settings):
    """A training of a table, from several seeds."""

    average: str  # entry of `average`
    model: str  # whose densities are shown
    label: str  # for the reader
    paper_log_likelihood: float  # the dissertation's, nats


class FlowGap(Settings):
    """What the EBM objective loses to maximum likelihood."""

    says: str
    learned: str  # entry of `average`: trained as an EBM
    best: str  # entry of `average`: trained by maximum likelihood


class FlowTable(Settings):
    """Gradient flows side by side, with the dissertation's log-likelihoods (5.5.1)."""

    title: str
    workflow: str  # dvc.yaml whose stages make the models
    rows: Annotated[list[FlowRow], Field(min_length=2)]
    gaps: dict[str, FlowGap]

    @model_validator(mode="after")
    def _gaps_are_of_rows(self) -> FlowTable:
        rows = {row.average for row in self.rows}
        named = {name for gap in self.gaps.values() for name in (gap.learned, gap.best)}
        if unknown := sorted(named - rows):
            raise ValueError(f"gaps of averages in rows; not there: {unknown[0]}")
        return self
