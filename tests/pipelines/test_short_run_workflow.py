"""Short-run EBMs of images through the stages: training, samples, judging, their table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from components.models.export import load_model
from components.models.short_run import ShortRunEBM
from pipelines.runtime.settings import load_params
from pipelines.runtime.settings.paths import Content
from tests.pipelines.judging.test_short_run import SETTINGS
from tests.pipelines.runtime.test_short_run_settings import LANGEVIN, noise_free
from tests.pipelines.small_project import IMAGES, Project
from tests.pipelines.test_latent_workflow import run_here

pytestmark = pytest.mark.pipeline
STEPS = LANGEVIN["steps"]
TABLED = ("ebm-noisy", "ebm-noise-free", "ebm-generator")
MODELS = (*TABLED, "ebm-replay")
PICTURES = {
    "samples",
    "chain",
    "reconstructions",
    "interpolations",
    "neighbours",
    "mixing",
    "drift",
}
DIAGNOSIS = {"chains": 4, "multiples": [2, 8], "every": 1, "projections": 2, "directions": 20}
SWEEP = "ebm-steps"


def settings_of(project: Project) -> Content:
    """The three rows of Table 5.1, one with persistent chains, and their table."""
    content = project.settings()
    plan = content["pretrain"]["vae-digits"]["plan"] | {"precision": "float32"}
    free = noise_free() | {"plan": plan}
    noisy = free | {"langevin": LANGEVIN | {"noise_scale": 0.1}}
    near = {"kind": "frechet", "extractor": "classifier", "count": 50}
    content["pretrain"] |= {
        "ebm-noisy": noisy,
        "ebm-noise-free": free | {"select": near},
        "ebm-generator": free | {"generator_weight": 1.0, "checkpoint": True},
        "ebm-replay": noisy | {"replay": {"size": 100, "probability": 0.9, "anneal_steps": 0}},
    }
    draws = content["sample"]["vae-digits"] | {"chain_states": 3}
    content["sample"] |= dict.fromkeys(TABLED, draws)
    longer = draws | {"langevin": LANGEVIN | {"steps": 7}, "chain_states": 0}
    content["sample"]["ebm-replay"] = longer
    again = SETTINGS["reconstructions"] | {"checkpoint": True}
    judge = SETTINGS | {"data": IMAGES, "reconstructions": again, "diagnosis": DIAGNOSIS}
    content["evaluate"] |= dict.fromkeys(TABLED, judge)
    content["evaluate"]["ebm-replay"] = judge | {"diagnosis": None}
    order = {"says": "Noise-free is below noisy", "falling": list(TABLED[:2]), "towards": None}
    loss = {"title": "Loss, nats", "column": "loss", "models": list(TABLED)}
    content["tabulate"] = {
        "digits": {
            "title": "Short-run EBMs of digits",
            "data": IMAGES,
            "workflow": "dvc.yaml",
            "extractor": "classifier",
            "rows": [{"model": name, "label": name, "paper_fid": 10.0} for name in TABLED],
            "claims": {"order": order},
            "curves": [loss],
        }
    }
    (project.root / "params.yaml").write_text(yaml.safe_dump(content))
    return content


def figures(project: Project, stage: str, name: str) -> dict[str, Any]:
    """What a stage said."""
    found: dict[str, Any] = json.loads((project.root / f"metrics/{stage}/{name}.json").read_text())
    return found


def test_short_run_models_through_the_stages(project: Project) -> None:
    settings = settings_of(project)
    run_here(project, ("fetch", IMAGES), ("shard", IMAGES), ("features", IMAGES))
    run_here(project, *(("pretrain", name) for name in MODELS))
    for name in MODELS:
        trained = figures(project, "pretrain", name)
        assert trained["steps"] == settings["pretrain"][name]["plan"]["steps"]
        curve = (project.root / f"plots/pretrain/{name}/training.csv").read_text().splitlines()
        assert {"loss", "energy_gap", "energy_data", "energy_chain"} <= set(curve[0].split(","))
    check_dispatch(project)

    run_here(project, *(("sample", name) for name in MODELS))
    for name in MODELS:
        draw = np.load(project.root / f"samples/{name}/draw-0.npy")
        assert draw.shape == (250, 1, 8, 8) and draw.dtype == np.uint8 and draw.std() > 1.0
        assert figures(project, "sample", name)["nfe"] == (7 if name == "ebm-replay" else STEPS)
    kept = np.load(project.root / "samples/ebm-noisy/chain.npy")
    assert kept.shape == (3, 10, 1, 8, 8)

    run_here(project, *(("evaluate", name) for name in MODELS))
    check_judged(project)
    run_here(project, ("tabulate", "digits"))
    table = figures(project, "tabulate", "digits")
    for name in TABLED:
        judged = figures(project, "evaluate", name)
        assert table[f"{name}_frechet"] == judged["frechet_classifier"]
    assert table["order"] == (table["ebm-noise-free_frechet"] < table["ebm-noisy_frechet"])
    page = (project.root / "report/tables/digits/index.txt").read_text()
    assert "Chains" in page and "R-hat" in page and all(name in page for name in TABLED)


def check_dispatch(project: Project) -> None:
    """Each entry is exported as the model that it describes."""
    free, noisy = (load_model(project.root / f"models/ebm-{n}") for n in ("noise-free", "noisy"))
    assert isinstance(free, ShortRunEBM) and isinstance(noisy, ShortRunEBM)
    assert free.langevin.noise_scale == 0.0 and noisy.langevin.noise_scale == 0.1
    start = free.noise(3, torch.Generator().manual_seed(0))
    images = [free.generate(start, torch.Generator().manual_seed(seed)).items for seed in (0, 1)]
    assert torch.equal(*images)  # a map of x_0
    images = [noisy.generate(start, torch.Generator().manual_seed(seed)).items for seed in (0, 1)]
    assert not torch.equal(*images)


def check_judged(project: Project) -> None:
    """Figures and pictures of the evaluate stage."""
    for name in TABLED:
        judged = figures(project, "evaluate", name)
        assert judged["nfe"] == STEPS and judged["energy_count"] == 100
        assert 0.0 < judged["reconstruction_mse"] < 1.0 and judged["reconstruction_count"] == 4
        assert judged["chain_count"] == 4 and judged["chain_steps"] == STEPS
        assert judged["chain_drift_8x"] > 0.0 and judged["chain_displacement_8x"] > 0.0
        noisy = name == "ebm-noisy"
        assert ("chain_acceptance" in judged) == noisy
        plots = project.root / "plots/evaluate" / name
        assert {path.stem for path in plots.glob("*.png")} == PICTURES
        assert np.load(project.root / f"judged/{name}/chains.npz")["energies"].shape == (25, 4)
    # The last point of a line, ρ = 0, is the image of the other start: not the first one's.
    lines = np.asarray(Image.open(project.root / "plots/evaluate/ebm-noisy/interpolations.png"))
    assert lines.std() > 1.0
    plain = figures(project, "evaluate", "ebm-replay")
    assert not [key for key in plain if key.startswith("chain_")]
    plots = project.root / "plots/evaluate/ebm-replay"
    assert {path.stem for path in plots.glob("*.png")} == PICTURES - {"mixing", "drift", "chain"}


def test_the_study_is_of_the_settings_that_its_rows_say() -> None:
    study = load_params(Path("pipelines/short_run/params.yaml"))
    for data in ("mnist", "fashion"):
        free, noisy, generator = (
            study.pretrain[f"ebm-{row}-{data}"].model_dump()
            for row in ("noise-free", "noisy", "generator")
        )
        assert free["langevin"]["noise_scale"] == 0.0 and free["generator_weight"] == 0.0
        # Nothing else differs: the three rows have one budget.
        quiet = noisy["langevin"] | {"noise_scale": 0.0}
        assert noisy["langevin"]["noise_scale"] == 0.1 and noisy | {"langevin": quiet} == free
        assert generator["generator_weight"] == 0.1
        assert generator | {"generator_weight": 0.0} == free
