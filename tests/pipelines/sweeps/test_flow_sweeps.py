"""Sweeps of gradient flows vary what their trials read, and the validations tell a trial's NFE."""

from __future__ import annotations

from pipelines.runtime.identity import REPOSITORY
from pipelines.runtime.settings import EqualSteps, FlowPretrain, FlowSample, load_params
from pipelines.sweeps.run import check
from pipelines.sweeps.trials import Subject, TuneReporter

PARAMS = load_params(REPOSITORY / "pipelines/short_run/params.yaml")
MODEL = "flow-ebm-swiss-roll"


def subject(name: str) -> Subject:
    return Subject(name, "", PARAMS.model_dump(mode="json"), "")


def test_a_trial_trains_for_its_time_in_its_steps() -> None:
    name = f"{MODEL}-time"
    sweep = check(name, PARAMS)
    time, steps = sweep.space
    trained = subject(name).of_trial({time: 0.4, steps: 8}).pretrain[MODEL]
    assert isinstance(trained, FlowPretrain) and isinstance(trained.solver, EqualSteps)
    assert (trained.flow.time, trained.solver.steps, trained.plan.steps) == (0.4, 8, 1000)


def test_a_trial_samples_for_its_time_by_its_tolerance() -> None:
    name = f"{MODEL}-sampling"
    time, tolerance = PARAMS.sweeps[name].space
    drawn = subject(name).of_trial({time: 0.4, tolerance: 0.1}).sample[MODEL]
    assert isinstance(drawn, FlowSample) and drawn.flow is not None
    assert (drawn.flow.time, drawn.flow.tolerance) == (0.4, 0.1)


def test_the_evaluations_of_a_trial_are_those_of_its_validation() -> None:
    reporter = TuneReporter("validation_energy_distance", {"nfe": 1})
    reporter.metrics(10, {"loss": 0.5, "validation_nfe": 44.0})
    assert reporter.facts == {"nfe": 44}
