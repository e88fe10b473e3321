"""Latent models through the stages: joint training, priors of a frozen base, samples."""

from __future__ import annotations

import contextlib
import json
from importlib import import_module
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from components.models.export import load_model
from components.models.latent_model import LatentModel
from pipelines.runtime.settings import load_params
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


BASES = ("glf", "rae", "wae-gan", "wae-mmd", "vae")
COMPOSED = {"rae-gmm": "rae", "rae-flow": "rae", "two-stage": "vae"}
SAMPLED = ("glf", "wae-gan", *COMPOSED)
SHOWN = {
    "glf": {"nll"},
    "rae": {"penalty"},
    "wae-gan": {"penalty", "discriminator"},
    "wae-mmd": {"penalty"},
    "vae": {"kl", "entropy"},
    "rae-gmm": {"nll", "rounds"},
    "rae-flow": {"nll"},
    "two-stage": {"nll", "kl"},
}
JUDGED = ("glf", "wae-gan")


def settings_of(project: Project) -> dict[str, Any]:
    """Jointly trained models, a bare RAE with its mixture and flow, and a two-stage VAE."""
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
    normal = glf | {"prior": {"kind": "normal"}, "stop_gradient": False, "prior_optimiser": None}
    adversary = {"kind": "gan", "weight": 1.0, "hidden": [8], "optimiser": ADAM}
    vae = normal | {
        "posterior": {"kind": "gaussian"},
        "reconstruction": {
            "kind": "perceptual",
            "weight": 1.0,
            "features": "classifier",
            "vgg_weights": None,
        },
    }
    common = {"kind": "latent-prior", "base": "rae", "data": IMAGES, "seed": 0, "select": last}
    mixture = {"kind": "mixture", "components": 3, "rounds": 50}
    content["pretrain"] |= {
        "glf": glf | {"select": {"kind": "frechet", "extractor": "classifier", "count": 100}},
        "rae": rae,
        "wae-gan": normal | {"penalty": adversary},
        "wae-mmd": normal | {"penalty": {"kind": "mmd", "weight": 10.0}},
        "vae": vae,
    }
    second = {"kind": "vae", "hidden": [8]}
    content["compose"] |= {
        "rae-gmm": common | {"prior": mixture, "optimiser": None, "plan": plan | {"steps": 1}},
        "rae-flow": common | {"prior": FLOW, "optimiser": ADAM, "plan": plan},
        "two-stage": common | {"base": "vae", "prior": second, "optimiser": ADAM, "plan": plan},
    }
    for name in SAMPLED:
        content["sample"][name] = content["sample"]["vae-digits"]
    judge = {
        "kind": "latent-images",
        "data": IMAGES,
        "extractors": ["classifier"],
        "inception_weights": None,
        "precision_recall": {"clusters": 5, "runs": 2},
        "latent_count": 100,
        "neighbours": {"samples": 2, "nearest": 2},
        "interpolations": {"lines": 2, "points": 3},
    }
    content["evaluate"] |= dict.fromkeys(JUDGED, judge)
    claim = {"says": "GLF is below WAE-GAN", "falling": ["wae-gan", "glf"], "towards": None}
    content["tabulate"] = {
        "digits": {
            "title": "Latents of digits",
            "data": IMAGES,
            "workflow": "dvc.yaml",
            "extractor": "classifier",
            "rows": [{"model": name, "label": name, "paper_fid": None} for name in JUDGED],
            "claims": {"order": claim},
            "curves": [],
        }
    }
    (project.root / "params.yaml").write_text(yaml.safe_dump(content))
    return content


def test_models_of_latents_through_the_stages(project: Project) -> None:
    content = settings_of(project)
    run_here(project, ("fetch", IMAGES), ("shard", IMAGES), ("features", IMAGES))
    project.stage("pretrain", "glf")
    run_here(project, *(("pretrain", name) for name in BASES[1:]))
    run_here(project, *(("compose", name) for name in COMPOSED))
    run_here(project, *(("sample", name) for name in SAMPLED))
    for stage, names in (("pretrain", BASES), ("compose", COMPOSED)):
        for name in names:
            table = project.root / f"plots/{stage}/{name}/training.csv"
            columns = table.read_text().splitlines()[0].split(",")
            assert SHOWN[name] <= set(columns), columns
            figures = json.loads((project.root / f"metrics/{stage}/{name}.json").read_text())
            settings = content[stage][name]
            assert figures["steps"] == settings["plan"]["steps"] and figures["rollbacks"] == 0
    for name in SAMPLED:
        draw = np.load(project.root / f"samples/{name}/draw-0.npy")
        assert draw.shape == (250, 1, 8, 8) and draw.dtype == np.uint8 and draw.std() > 1.0
        model = load_model(project.root / "models" / name)
        assert isinstance(model, LatentModel) and model.prior is not None
        if name in COMPOSED:
            base = load_model(project.root / "models" / COMPOSED[name]).state_dict()
            for key, value in base.items():
                assert torch.equal(model.state_dict()[key], value), key
    run_here(project, *(("evaluate", name) for name in JUDGED), ("tabulate", "digits"))
    judged = {
        name: json.loads((project.root / f"metrics/evaluate/{name}.json").read_text())
        for name in JUDGED
    }
    table = json.loads((project.root / "metrics/tabulate/digits.json").read_text())
    for name, figures in judged.items():
        assert table[f"{name}_frechet"] == figures["frechet_classifier"]
        assert table[f"{name}_f8"] == figures["f8_classifier"]
    assert table["order"] == (table["glf_frechet"] < table["wae-gan_frechet"])
    page = (project.root / "report/tables/digits/index.txt").read_text()
    assert all(name in page for name in JUDGED)


def run_here(project: Project, *stages: tuple[str, str]) -> None:
    """Run stages in this process, which spares each of them a start of Python."""
    params = load_params(project.root / "params.yaml")
    with contextlib.chdir(project.root):
        for stage, name in stages:
            import_module(f"pipelines.stages.{stage}").main(name, params)
