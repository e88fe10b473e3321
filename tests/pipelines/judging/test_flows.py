"""Gradient flows are judged by figures that are known in closed form."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from components.datasets.toy import density
from components.errors import DivergedError, UserError
from components.models.gradient_flow import GradientFlow
from components.samplers.gradient_flow import FlowSettings
from pipelines.judging.flows import judge_flow
from pipelines.runtime.settings import FlowEvaluate
from tests.pipelines.site import write_data

TIME = 0.5
SETTINGS: dict[str, Any] = {
    "kind": "flow-points",
    "data": "9-gaussians",
    "test_count": 300,
    "tolerance": 1e-5,
    "extent": 8.0,
    "grid": 100,
    "least_covered": 0.99,
    "distance_count": 400,
    "directions": 20,
    "mode_radius": 4.0,
    "shown": 4.0,
    "map": 10,
}


class Bowl(nn.Module):
    """f(x) = a‖x‖²/2: its flow carries N(0, I) to N(0, e^(−2aT)), and exp(−f)/Z is N(0, 1/a)."""

    def __init__(self, steepness: float) -> None:
        super().__init__()
        self.steepness = nn.Parameter(torch.tensor(steepness))

    def forward(self, x: Tensor) -> Tensor:
        return 0.5 * self.steepness * x.square().sum(dim=1)


class Slope(nn.Module):
    """f(x) = a·x₁, whose exp(−f) has no integral."""

    def __init__(self) -> None:
        super().__init__()
        self.steepness = nn.Parameter(torch.tensor(0.3))

    def forward(self, x: Tensor) -> Tensor:
        # What is nothing has second derivatives too, which the flow's density asks for.
        return self.steepness * x[:, 0] + 0.0 * x.square().sum(dim=1)


@pytest.fixture
def points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tensor:
    """True points, which are the test points; the working folder has their shards."""
    monkeypatch.chdir(tmp_path)
    for folder in ("samples", "plots", "judged"):
        Path(folder).mkdir()
    found = density("9-gaussians").sample(500, torch.Generator().manual_seed(0))
    write_data(tmp_path, "9-gaussians", found.numpy())
    return found


def judged(energy: nn.Module, draws: list[Tensor], max_steps: int = 100) -> dict[str, Any]:
    """Judge a flow by samples that are given instead of drawn."""
    for number, draw in enumerate(draws):
        np.save(f"samples/draw-{number}.npy", draw.numpy())
    # Coarser than the judge's tolerance, which is to be used instead.
    model = GradientFlow(energy, (2,), FlowSettings(TIME, 1.0, max_steps))
    settings = FlowEvaluate.model_validate(SETTINGS)
    return judge_flow(model, settings, Path("samples"), Path("plots"), Path("judged"))


def test_both_densities_of_a_bowl(points: Tensor) -> None:
    a = 0.8
    figures = judged(Bowl(a), [points, points[torch.randperm(500)]])
    test = points[:300].double()
    for key, variance in (("", math.exp(-2 * a * TIME)), ("ebm_", 1 / a)):
        log_prob = -test.square().sum(dim=1) / (2 * variance) - math.log(2 * math.pi * variance)
        assert figures[f"{key}log_likelihood"] == pytest.approx(log_prob.mean().item(), abs=2e-4)
        error = log_prob.std().item() / 300**0.5
        assert figures[f"{key}log_likelihood_std_error"] == pytest.approx(error, rel=1e-3)
    assert figures["log_likelihood_true"] == pytest.approx(
        density("9-gaussians").log_prob(points[:300]).mean().item()
    )
    assert figures["ebm_log_z"] == pytest.approx(math.log(2 * math.pi / a), abs=1e-4)
    assert figures["ebm_log_z_growth"] == pytest.approx(0.0, abs=1e-4)
    assert figures["ebm_integrable"] is True and figures["ebm_test_outside"] == 0
    assert figures["modes"] == 9 and figures["off_mode_fraction"] < 0.01


def test_samples_that_are_the_test_points_have_no_distance(points: Tensor) -> None:
    figures = judged(Bowl(0.8), [points])
    assert figures["sliced_wasserstein"] == 0.0
    assert figures["energy_distance"] == pytest.approx(0.0, abs=1e-6)
    assert "sliced_wasserstein_std" not in figures
    # A single broad Gaussian is farther from nine narrow ones than these are from themselves.
    for key in ("sliced_wasserstein", "energy_distance"):
        assert figures[f"ebm_{key}"] > 2.0 * figures[f"floor_{key}"] > 0.0


def test_an_energy_without_a_density_is_said_to_be_one(points: Tensor) -> None:
    figures = judged(Slope(), [points])
    assert figures["ebm_integrable"] is False
    # The box is twice as long and wide: e^(8a) more at its end, and twice as much beside.
    assert figures["ebm_log_z_growth"] == pytest.approx(0.3 * 8 + math.log(2.0), abs=0.01)
    assert figures["ebm_log_likelihood_twice_the_box"] == pytest.approx(
        figures["ebm_log_likelihood"] - figures["ebm_log_z_growth"], abs=1e-4
    )
    # The flow shifts N(0, I), and has a density all the same.
    shift = torch.tensor([0.3 * TIME, 0.0])
    log_prob = -(points[:300] + shift).square().sum(dim=1) / 2 - math.log(2 * math.pi)
    assert figures["log_likelihood"] == pytest.approx(log_prob.mean().item(), abs=1e-4)


def test_pictures_and_the_arrays_behind_them(points: Tensor) -> None:
    judged(Bowl(0.8), [points])
    assert {file.name for file in Path("plots").iterdir()} == {
        "densities.png",
        "log-densities.png",
    }
    with np.load("judged/log-densities.npz") as maps:
        assert set(maps) == {"energy", "flow", "truth"}
        assert all(each.shape == (10, 10) for each in maps.values())
        # Steeper by the flow's precision e^(2aT) over the energy's a.
        fall = [maps[key][5, 5] - maps[key][5, 8] for key in ("flow", "energy")]
        assert fall[0] / fall[1] == pytest.approx(math.exp(0.8) / 0.8, rel=1e-3)


def test_what_cannot_be_judged(points: Tensor) -> None:
    with pytest.raises(DivergedError, match="cannot be solved"):
        judged(Bowl(0.8), [points], max_steps=1)
    with pytest.raises(UserError, match="gradient flows of the plane alone"):
        judge_flow(
            nn.Linear(2, 1),
            FlowEvaluate.model_validate(SETTINGS),
            Path("samples"),
            Path("plots"),
            Path("judged"),
        )
