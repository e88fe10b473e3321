"""Settings of gradient flows: parts that do not go together are one line."""

from __future__ import annotations

import math
from typing import Any

import pytest
import yaml

from components.datasets.manifest import Manifest
from components.errors import UserError
from components.learners.gradient_flow import FlowLearning
from pipelines.runtime.builders import flow_of
from pipelines.runtime.identity import REPOSITORY
from pipelines.runtime.settings import FlowPretrain, FlowSample, Sample, load_params
from pipelines.runtime.settings.training import HalvingDecay
from pipelines.stages import pretrain
from pipelines.training import gradient_flow

FILE = REPOSITORY / "pipelines/short_run/params.yaml"
STUDY = load_params(FILE)
NAMES = [name for name, settings in STUDY.pretrain.items() if isinstance(settings, FlowPretrain)]
PAPER = {
    "flow-ebm-swiss-roll": ("energy", "small-swiss-roll"),
    "flow-ml-swiss-roll": ("likelihood", "small-swiss-roll"),
    "flow-ebm-grid": ("energy", "9-gaussians"),
    "flow-ml-grid": ("likelihood", "9-gaussians"),
}


def flow(name: str = "flow-ebm-grid") -> FlowPretrain:
    settings = STUDY.pretrain[name]
    assert isinstance(settings, FlowPretrain)
    return settings


@pytest.mark.parametrize(
    ("path", "value", "line"),
    [
        ("pretrain.flow-ebm-grid.flow.time", 0.0, "flow.time: 0.0 is not allowed"),
        ("pretrain.flow-ebm-grid.solver.steps", 0, "solver.steps: 0 is not allowed"),
        ("pretrain.flow-ebm-grid.solver.kind", "rk4", "allowed: 'dopri5', 'equal-steps'"),
        ("pretrain.flow-ebm-grid.objective.gamma", -0.1, "objective.gamma: -0.1 is not allowed"),
        ("pretrain.flow-ml-grid.objective.max_nll", math.inf, "objective.max_nll"),
        ("pretrain.flow-ebm-grid.objective.kind", "ml", "allowed: 'energy', 'likelihood'"),
        ("pretrain.flow-ml-grid.objective.backward", "both", "'direct' or 'adjoint'"),
        ("pretrain.flow-ebm-grid.plan.precision", "bfloat16", "plan.precision float32"),
        ("pretrain.flow-ebm-grid.select.count", 5001, "select.count 5000 or less"),
        ("sample.flow-ebm-grid.flow.tolerance", 0.0, "flow.tolerance: 0.0 is not allowed"),
        ("evaluate.flow-ebm-grid.least_covered", 1.5, "least_covered: 1.5 is not allowed"),
        (
            "tabulate_flows.flows.gaps.grid.best",
            "flow",
            "averages in rows; not there: flow",
        ),
    ],
)
def test_a_wrong_setting_is_one_line(path: str, value: Any, line: str) -> None:
    with pytest.raises(UserError) as error:
        load_params(FILE, {path: value})
    said = str(error.value)
    assert line in said and said.startswith(f"params.yaml: {path.split('.')[0]}.")
    assert "\n" not in said


def test_samples_of_a_flow_are_told_by_their_key() -> None:
    plain = yaml.safe_load(FILE.read_text())["sample"]["ebm-noisy-mnist"]
    assert isinstance(STUDY.sample["flow-ebm-grid"], FlowSample)
    assert type(STUDY.sample["ebm-noisy-mnist"]) is Sample
    with pytest.raises(UserError, match=r"sample\.ebm-noisy-mnist\.langevin: unknown setting"):
        load_params(FILE, {"sample.ebm-noisy-mnist": plain | {"flow": None}})


def test_the_study_has_the_settings_of_the_dissertation() -> None:
    """Section 5.5.3, and T and tolerance of 5.5.1; three seeds of each, which alone differ.

    The grid departs from it, for both objectives alike, as docs/short-run.md says.
    """
    decays = {
        "small-swiss-roll": "constant",
        "9-gaussians": HalvingDecay(kind="halving", every=400),
    }
    for name, (objective, data) in PAPER.items():
        settings = flow(name)
        assert (settings.objective.kind, settings.data) == (objective, data)
        assert settings.energy.hidden == [256] * 4 and settings.energy.fourier == []
        assert (settings.flow.time, settings.flow.tolerance) == (0.2, 1e-5)
        assert (settings.plan.steps, settings.plan.batch_size) == (3000, 800)
        assert settings.optimiser.learning_rate == 1e-3
        assert settings.optimiser.decay == decays[data]
        rival = next(flow(other) for other in PAPER if other != name and PAPER[other][1] == data)
        assert (settings.optimiser, settings.solver) == (rival.optimiser, rival.solver)
        seeds = [name, f"{name}-seed1", f"{name}-seed2"]
        assert STUDY.average[name].models == seeds
        for seed, other in enumerate(seeds):
            assert flow(other) == settings.model_copy(update={"seed": seed})
            drawn = STUDY.sample[other]
            assert isinstance(drawn, FlowSample) and drawn.seed == seed
            assert drawn.flow == settings.flow
    assert len(NAMES) == 12


def test_settings_become_a_learner_s() -> None:
    found = gradient_flow.learning_of(flow())
    assert found == FlowLearning("energy", "direct", 0, 100.0, None, equal_steps=8, gamma=0.02)
    found = gradient_flow.learning_of(flow("flow-ml-grid"))
    assert found == FlowLearning("likelihood", "direct", 0, math.inf, None, 8, max_nll=10.0)
    solver = {"kind": "dopri5", "tolerance": 1e-4}
    other = load_params(FILE, {"pretrain.flow-ebm-grid.solver": solver}).pretrain["flow-ebm-grid"]
    assert isinstance(other, FlowPretrain)
    assert gradient_flow.learning_of(other).tolerance == 1e-4
    own = flow_of(flow().flow)
    assert own is not None and (own.time, own.tolerance) == (0.2, 1e-5)
    assert flow_of(None) is None


def test_a_flow_s_energy_is_one_of_points() -> None:
    def manifest(shape: list[int]) -> Manifest:
        return Manifest("d", "points", tuple(shape), "float32", (), (0.0,), {})

    described = gradient_flow.describe(flow(), manifest([2]))
    assert described["kind"] == "gradient-flow" and described["shape"] == [2]
    with pytest.raises(UserError, match="an energy of points"):
        gradient_flow.describe(flow(), manifest([1, 8, 8]))


def test_the_stage_knows_the_kind() -> None:
    assert pretrain.FAMILIES[flow().kind] is gradient_flow
