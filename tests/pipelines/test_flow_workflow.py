"""Gradient flows through the stages: real DVC from the density's formula to the judged model."""

from __future__ import annotations

import contextlib
import json
import shutil
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from components.errors import DivergedError, UserError
from components.models.export import load_model
from components.models.gradient_flow import GradientFlow
from pipelines.runtime.identity import REPOSITORY
from pipelines.runtime.settings import load_params
from pipelines.stages import sample
from tests.pipelines.small_project import Project

pytestmark = pytest.mark.pipeline
STUDY = "pipelines/short_run"
DATA = "9-gaussians"
MODELS = ("ebm", "ml")
PICTURES = {"densities.png", "log-densities.png"}


def settings_of(project: Project) -> dict[str, Any]:
    """The study's settings, cut to two trainings of seconds."""
    study = yaml.safe_load((REPOSITORY / STUDY / "params.yaml").read_text())
    small: dict[str, Any] = {section: {} for section in study}
    small["runtime"] = project.settings()["runtime"]
    for section in ("fetch", "shard", "features"):
        small[section] = {DATA: study[section][DATA]}
    plan = {"steps": 6, "batch_size": 50, "log_every": 2, "checkpoint_every": 3}
    plan |= {"validate_every": 3, "validation_count": 100}
    judge = {"test_count": 60, "tolerance": 1e-3, "grid": 30, "distance_count": 100, "map": 12}
    for name in MODELS:
        entry = f"flow-{name}-grid"
        training = study["pretrain"][entry]
        training = training | {"plan": training["plan"] | plan}
        training["energy"] = training["energy"] | {"hidden": [8, 8]}
        training["select"] = {"kind": "likelihood", "count": 50}
        small["pretrain"][entry] = training
        small["sample"][entry] = study["sample"][entry] | {"count": 150, "batch_size": 100}
        small["evaluate"][entry] = study["evaluate"][entry] | judge
    first, second = small["pretrain"]
    small["average"] = {"mixed": {"models": [first, second, first]}}
    small["average"]["other"] = {"models": [second, second, first]}
    row = {"model": first, "label": "first", "paper_log_likelihood": -1.95}
    rows = [{**row, "average": "mixed"}]
    rows += [{**row, "average": "other", "label": "second", "paper_log_likelihood": -1.47}]
    gap = {"says": "grid", "learned": "mixed", "best": "other"}
    table = study["tabulate_flows"]["flows"] | {"rows": rows, "gaps": {"grid": gap}}
    small["tabulate_flows"] = {"flows": table}
    write(project, small)
    # DVC reads the root's DAG too, which here has nothing to do.
    root = {section: {} for section in project.settings()} | {"runtime": small["runtime"]}
    (project.root / "params.yaml").write_text(yaml.safe_dump(root))
    return small


@pytest.mark.slow
def test_flows_through_the_stages(project: Project) -> None:
    shrink_catalogue(project)
    content = settings_of(project)
    shutil.copy(REPOSITORY / STUDY / "dvc.yaml", project.root / STUDY)
    project.run("dvc", "init", "--no-scm", "-q")
    first, second = content["pretrain"]
    # The study's own averages and table have more models than are trained here.
    write(project, content | {"average": {}, "tabulate_flows": {}})
    project.run("dvc", "repro", f"{STUDY}/dvc.yaml:evaluate@{first}")
    write(project, content)
    run_here(project, ("pretrain", second), ("sample", second), ("evaluate", second))
    for name in (first, second):
        flow = load_model(project.root / "models" / name)
        assert isinstance(flow, GradientFlow) and flow.settings.time == 0.2
        trained = read(project, f"pretrain/{name}")
        assert trained["steps"] == 6 and trained["kept_step"] in (3, 6)
        header = (project.root / f"plots/pretrain/{name}/validation.csv").read_text()
        assert {"validation_nll", "validation_nfe"} <= set(header.splitlines()[0].split(","))
        judged = read(project, f"evaluate/{name}")
        assert judged["nfe"] == read(project, f"sample/{name}")["nfe"] >= 6
        assert judged["test_count"] == 60 and "seconds_per_1000_points" in judged
        draw = np.load(project.root / f"samples/{name}/draw-2.npy")
        assert draw.shape == (150, 2) and draw.dtype == np.float32
        pictures = {path.name for path in (project.root / f"plots/evaluate/{name}").iterdir()}
        assert pictures == PICTURES
    run_here(project, ("average", "mixed"), ("average", "other"), ("tabulate_flows", "flows"))
    mixed, other = (read(project, f"average/{name}") for name in ("mixed", "other"))
    table = read(project, "tabulate_flows/flows")
    assert table["mixed_log_likelihood"] == mixed["log_likelihood"]
    gap = other["log_likelihood"] - mixed["log_likelihood"]
    assert table["grid_gap"] == pytest.approx(gap) and table["grid"] == (gap <= 0.48)
    page = (project.root / "report/tables/flows/index.txt").read_text()
    assert "dissertation 0.48" in page and "−1.95" in page


def test_a_flow_is_sampled_by_its_ode_alone(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    shrink_catalogue(project)
    content = settings_of(project)
    name = next(iter(content["pretrain"]))
    monkeypatch.chdir(project.root)
    run_here(project, ("fetch", DATA), ("shard", DATA), ("pretrain", name))
    file = Path(STUDY, "params.yaml")
    steep = {f"sample.{name}.flow": {"time": 0.2, "tolerance": 1e-6, "max_steps": 1}}
    with pytest.raises(DivergedError, match="cannot be solved"):
        sample.main(name, load_params(file, steep))
    content["sample"][name] |= {"langevin": None, "chain_states": 0}
    del content["sample"][name]["flow"]
    file.write_text(yaml.safe_dump(content))
    with pytest.raises(UserError, match="a gradient flow is sampled by its ODE"):
        sample.main(name, load_params(file))
    assert not Path("samples", name).exists()


def run_here(project: Project, *stages: tuple[str, str]) -> None:
    """Run stages in this process, which spares each of them a start of Python."""
    params = load_params(project.root / STUDY / "params.yaml")
    with contextlib.chdir(project.root):
        for stage, name in stages:
            import_module(f"pipelines.stages.{stage}").main(name, params)


def write(project: Project, content: dict[str, Any]) -> None:
    """Make it the study's settings."""
    (project.root / STUDY).mkdir(parents=True, exist_ok=True)
    (project.root / STUDY / "params.yaml").write_text(yaml.safe_dump(content, sort_keys=False))


def shrink_catalogue(project: Project) -> None:
    """Fewer points of the data set."""
    file = project.root / "data/catalog.yaml"
    catalogue = yaml.safe_load(file.read_text())
    catalogue[DATA]["source"] |= {"train": 1000, "test": 200}
    file.write_text(yaml.safe_dump(catalogue, sort_keys=False))


def read(project: Project, name: str) -> dict[str, Any]:
    """Figures of a stage."""
    figures: dict[str, Any] = json.loads((project.root / f"metrics/{name}.json").read_text())
    return figures
