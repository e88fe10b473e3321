"""Latent models through the stages: joint training, priors of a frozen base, samples."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from components.models.export import load_model
from components.models.latent_model import LatentModel
from tests.pipelines.small_project import IMAGES, Project

pytestmark = pytest.mark.pipeline
ADAM = {
    "learning_rate": 1e-3,
    "betas": [0.9, 0.999],
    "weight_decay": 0.0,
    "warmup_steps": 0,
    "decay": {"kind": "halving", "every": 10},
    "clip_deviations": None,
    "ema": 0.0,
}
FLOW = {"kind": "flow", "blocks": 2, "hidden": 8}


def settings_of(project: Project) -> dict[str, Any]:
    """A jointly trained GLF, a bare RAE, and the RAE's mixture."""
    content = project.settings()
    plan = content["pretrain"]["vae-digits"]["plan"] | {"precision": "float32"}
    last = {"kind": "last"}
    glf = {
        "kind": "latent",
        "data": IMAGES,
        "seed": 0,
        "network": {"kind": "infogan", "width": 4, "hidden": 16},
        "latent": 4,
        "posterior": {"kind": "point"},
        "prior": FLOW,
        "reconstruction": {"kind": "squared", "weight": 1.0},
        "stop_gradient": True,
        "penalty": {"kind": "none"},
        "optimiser": ADAM,
        "prior_optimiser": ADAM,
        "plan": plan,
        "select": last,
    }
    rae = glf | {
        "prior": {"kind": "none"},
        "stop_gradient": False,
        "penalty": {"kind": "norm", "weight": 0.5},
        "prior_optimiser": None,
    }
    common = {"kind": "latent-prior", "base": "rae", "data": IMAGES, "seed": 0, "select": last}
    mixture = {"kind": "mixture", "components": 3, "rounds": 50}
    content["pretrain"] |= {"glf": glf, "rae": rae}
    content["compose"] |= {
        "rae-gmm": common | {"prior": mixture, "optimiser": None, "plan": plan | {"steps": 1}},
        "rae-flow": common | {"prior": FLOW, "optimiser": ADAM, "plan": plan},
    }
    for name in ("glf", "rae-gmm", "rae-flow"):
        content["sample"][name] = content["sample"]["vae-digits"]
    (project.root / "params.yaml").write_text(yaml.safe_dump(content))
    return content


def test_models_of_latents_through_the_stages(project: Project) -> None:
    content = settings_of(project)
    project.stage("fetch", IMAGES)
    project.stage("shard", IMAGES)
    for name in ("glf", "rae"):
        project.stage("pretrain", name)
    for name in ("rae-gmm", "rae-flow"):
        project.stage("compose", name)
    base = load_model(project.root / "models/rae")
    for name in ("glf", "rae-gmm", "rae-flow"):
        project.stage("sample", name)
        draw = np.load(project.root / f"samples/{name}/draw-0.npy")
        assert draw.shape == (250, 1, 8, 8) and draw.dtype == np.uint8 and draw.std() > 1.0
        model = load_model(project.root / "models" / name)
        assert isinstance(model, LatentModel) and model.prior is not None
        if name != "glf":
            for key, value in base.state_dict().items():
                assert torch.equal(model.state_dict()[key], value), key
        stage = "pretrain" if name == "glf" else "compose"
        columns = (project.root / f"plots/{stage}/{name}/training.csv").read_text().splitlines()[0]
        assert "nll" in columns
        figures = json.loads((project.root / f"metrics/{stage}/{name}.json").read_text())
        settings = content[stage][name]
        assert figures["steps"] == settings["plan"]["steps"] and figures["rollbacks"] == 0
