"""Denoising models through the stages: training, samples, judging, strokes, tables, a figure."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from components.models.ddpm import DDPM
from components.models.denoising_gan import DenoisingGAN
from components.models.export import load_model
from components.models.plain_gan import PlainGAN
from pipelines.runtime.settings import DDPMPretrain, DenoisingGANPretrain, GANPretrain, load_params
from pipelines.runtime.settings.paths import Content
from tests.pipelines.runtime.test_diffusion_settings import (
    POINTS,
    VP,
    ddpm,
    denoising_gan,
    gan,
)
from tests.pipelines.small_project import IMAGES, Project
from tests.pipelines.small_project import POINTS as PLANE
from tests.pipelines.test_latent_workflow import run_here

pytestmark = pytest.mark.pipeline
STACKED = "stacked-digits"
MODELS = (
    "ddgan-digits",
    "ddgan-once",
    "ddpm-digits",
    "ddgan-points",
    "gan-points",
    "ddgan-stacked",
)
# Entry of `sample` and `evaluate`: its model, its sampler, evaluations of an item.
DRAWN: dict[str, tuple[str, dict[str, Any] | None, int]] = {
    "ddgan-digits": ("ddgan-digits", None, 2),
    "ddgan-once": ("ddgan-once", None, 1),
    "ddpm-digits": ("ddpm-digits", None, 3),
    "ddpm-digits-all": ("ddpm-digits", {"kind": "ancestral"}, 6),
    "ddgan-points": ("ddgan-points", None, 2),
    "gan-points": ("gan-points", None, 1),
    "ddgan-stacked": ("ddgan-stacked", None, 2),
}
ON_POINTS = ("ddgan-points", "gan-points")
LOSSES = {
    "title": "Discriminator's loss, nats",
    "columns": ["loss_discriminator_t0", "loss_discriminator_t1"],
}


def settings_of(project: Project) -> Content:
    """A model of each kind, the ways to draw from them, and what is made of the figures."""
    content = project.settings()
    few, many, one = denoising_gan(), ddpm(), gan()
    of_points = {"data": PLANE, "network": POINTS, "scale": 4.745}
    content["pretrain"] |= {
        "ddgan-digits": few
        | {"select": {"kind": "frechet", "extractor": "classifier", "count": 50}},
        "ddgan-once": few
        | {
            "diffusion": {"steps": 1, "schedule": VP},
            "game": {"gamma": 0.05, "r1_every": 2, "augmentation": 3},
        },
        "ddpm-digits": many,
        "ddgan-points": few
        | of_points
        | {"discriminator": POINTS, "select": {"kind": "energy-distance", "count": 50}},
        "gan-points": one | {"data": PLANE},
        "ddgan-stacked": few
        | {
            "data": STACKED,
            "select": {"kind": "watched", "extractor": "classifier", "count": 50},
        },
    }
    content["fetch"][STACKED], content["shard"][STACKED] = {}, {"shard_megabytes": 16}
    content["features"][STACKED] = {
        "kind": "stacked-images",
        "count": 120,
        "digits": IMAGES,
        "extractors": ["classifier"],
        "inception_weights": None,
    }
    for name, (model, sampler, _) in DRAWN.items():
        content["sample"][name] = {
            "model": model,
            "sampler": sampler,
            "count": 100,
            "draws": 2,
            "seed": 0,
            "batch_size": 60,
            "path_states": 3,
        }
        content["evaluate"][name] = judged(name, model)
    content["synthesise"] = {
        "strokes": {
            "model": "ddgan-digits",
            "data": IMAGES,
            "picture": "drawing.png",
            "steps": 1,
            "strokes": 4,
            "draws": 2,
            "colours": 3,
            "seed": 0,
        }
    }
    content["average"] = {"points": {"models": list(ON_POINTS)}}
    order = {"says": "Two steps are better", "key": "nfe", "rising": list(ON_POINTS[::-1])}
    page = {"workflow": "dvc.yaml", "orders": {}, "losses": LOSSES | {"model": "ddgan-digits"}}
    page["progress"] = {
        "title": "Loss",
        "column": "loss_discriminator",
        "models": ["ddgan-digits", "ddgan-points"],
    }
    content["tabulate_denoising"] = {
        "points": page
        | {
            "title": "Points",
            "data": PLANE,
            "extent": 14.0,
            "rows": rows(ON_POINTS),
            "columns": [{"key": "modes", "title": "Modes", "digits": 1, "best": "most"}],
            "orders": {"steps": order},
        },
        "digits": page
        | {
            "title": "Digits",
            "data": IMAGES,
            "extent": None,
            "rows": rows(("ddgan-digits", "ddgan-once", "ddpm-digits-all")),
            "columns": [
                {"key": "recall_classifier", "title": "Recall", "digits": 2, "best": "most"},
                {"key": "sampling_seconds", "title": "Seconds", "digits": 3, "best": "least"},
            ],
        },
    }
    content["trade_off"] = {
        "digits": {
            "workflow": "dvc.yaml",
            "quality": "frechet_classifier",
            "measure": "Fréchet distance",
            "count": 100,
            "points": [
                {"name": name, "family": name[:5]}
                for name in ("ddgan-digits", "ddgan-once", "ddpm-digits", "ddpm-digits-all")
            ],
        }
    }
    (project.root / "params.yaml").write_text(yaml.safe_dump(content))
    return content


def judged(name: str, model: str) -> Content:
    if name in ON_POINTS:
        settings: Content = {"kind": "denoising-points", "data": PLANE, "model": model}
        return settings | {"mode_radius": 4.0, "extent": 14.0, "timing_count": 20}
    return {
        "kind": "denoising-images",
        "data": STACKED if name == "ddgan-stacked" else IMAGES,
        "model": model,
        "extractors": ["classifier"],
        "inception_weights": None,
        "precision_recall": {"clusters": 4, "runs": 1},
        "guesses": {"images": 3, "draws": 2} if name == "ddgan-digits" else None,
        "timing_count": 20,
    }


def rows(names: tuple[str, ...]) -> list[Content]:
    return [{"name": name, "figures": f"evaluate/{name}", "label": name.upper()} for name in names]


def figures(project: Project, stage: str, name: str) -> dict[str, Any]:
    """What a stage said."""
    found: dict[str, Any] = json.loads((project.root / f"metrics/{stage}/{name}.json").read_text())
    return found


def test_denoising_models_through_the_stages(project: Project) -> None:
    settings_of(project)
    catalogue = yaml.safe_load((project.root / "data/catalog.yaml").read_text())
    stack = {"train": 400, "test": 120, "seed": 1}
    catalogue[STACKED] = catalogue[IMAGES] | {"stack": stack}
    (project.root / "data/catalog.yaml").write_text(yaml.safe_dump(catalogue, sort_keys=False))
    data = (PLANE, IMAGES, STACKED)
    run_here(project, *((stage, name) for stage in ("fetch", "shard", "features") for name in data))
    run_here(project, *(("pretrain", name) for name in MODELS))
    check_trained(project)

    run_here(project, *(("sample", name) for name in DRAWN))
    check_drawn(project)
    run_here(project, *(("evaluate", name) for name in DRAWN))
    check_judged(project)

    Image.new("RGB", (30, 20), "red").save(project.root / "drawing.png")
    made = ["strokes"]
    run_here(project, *(("synthesise", name) for name in made), ("average", "points"))
    # A picture of 8 × 8, 7 times as large: above its two results, and in a row with its noisy self
    # and two guesses for t = 1 and 2.
    for stem, columns, lines in (("strokes", 1, 3), ("guesses", 7, 1)):
        with Image.open(project.root / f"plots/synthesise/strokes/{stem}.png") as picture:
            assert picture.size == (columns * 57 + 1, lines * 57 + 1)
            assert np.asarray(picture).std() > 1.0
    stored = {
        path.stem for path in project.root.glob("mlartifacts/*/artifacts/synthesise/strokes/*")
    }
    assert stored == {"strokes", "guesses"}
    assert figures(project, "average", "points")["seeds"] == 2

    tables = [("tabulate_denoising", name) for name in ("points", "digits")]
    run_here(project, *tables, ("trade_off", "digits"))
    assert figures(project, "tabulate_denoising", "points")["steps"] is True
    page = (project.root / "report/tables/digits/index.html").read_text()
    # Losses; samples of three; paths of two that walk and of one step; guesses of one.
    assert page.count("<img") == 2 + 3 + 3 + 1
    flat = figures(project, "trade_off", "digits")
    assert flat["ddpm-digits-all_nfe"] == 6.0 and flat["ddgan-digits_sampling_seconds"] > 0.0


def check_trained(project: Project) -> None:
    """Each entry is exported as the model that it describes, with its curves."""
    models = {name: load_model(project.root / f"models/{name}") for name in MODELS}
    kinds = (DenoisingGAN, DenoisingGAN, DDPM, DenoisingGAN, PlainGAN, DenoisingGAN)
    for model, kind in zip(models.values(), kinds, strict=True):
        assert isinstance(model, kind)
    for name in MODELS:
        lines = (project.root / f"plots/pretrain/{name}/training.csv").read_text().splitlines()
        logged = set(lines[0].split(","))
        assert figures(project, "pretrain", name)["seconds"] > 0.0
        wanted = {"loss"} if name == "ddpm-digits" else {"loss_discriminator", "loss_generator"}
        assert wanted <= logged and len(lines) > 2
        assert (set(LOSSES["columns"]) <= logged) == (
            name in ("ddgan-digits", "ddgan-points", "ddgan-stacked")
        )
    for name, key in (("ddgan-digits", "frechet_classifier"), ("ddgan-points", "energy_distance")):
        rows = (project.root / f"plots/pretrain/{name}/validation.csv").read_text()
        assert f"validation_{key}" in rows
        assert figures(project, "pretrain", name)["kept_score"] > 0.0
    # Told on the way, and choosing nothing.
    validations = project.root / "plots/pretrain/ddgan-stacked/validation.csv"
    told = list(csv.DictReader(validations.read_text().splitlines()))
    assert all(1.0 <= float(row["validation_modes"]) <= 50.0 for row in told)
    assert float(told[-1]["validation_mode_kl"]) > 0.0
    story = figures(project, "pretrain", "ddgan-stacked")
    assert "kept_score" not in story and story["kept_step"] == story["steps"]


def check_drawn(project: Project) -> None:
    for name, (_, _, evaluations) in DRAWN.items():
        draw = np.load(project.root / f"samples/{name}/draw-0.npy")
        if name in ON_POINTS:
            assert draw.shape == (100, 2) and draw.dtype == np.float32
        else:
            channels = 3 if name == "ddgan-stacked" else 1
            assert draw.shape == (100, channels, 8, 8) and draw.dtype == np.uint8
        assert figures(project, "sample", name)["nfe"] == evaluations
    path = np.load(project.root / "samples/ddgan-digits/path.npy")
    assert path.shape == (3, 10, 1, 8, 8)
    # Draws of one model by two samplers.
    one, other = (
        np.load(project.root / f"samples/{name}/draw-0.npy")
        for name in ("ddpm-digits", "ddpm-digits-all")
    )
    assert (one != other).any()


def check_judged(project: Project) -> None:
    for name, (_, _, evaluations) in DRAWN.items():
        found = figures(project, "evaluate", name)
        assert found["nfe"] == evaluations and found["sampling_seconds"] > 0.0
        assert found["sampled_count"] == 20
        if name in ON_POINTS:
            assert 0.0 <= found["high_quality_fraction"] <= found["high_quality_fraction_true"]
            assert 20.0 <= found["modes_true"] <= 25.0  # of 100 points
            assert 0.0 <= found["scarcest_mode"] <= 1.0 and found["scarcest_mode_true"] < 1.0
        else:
            assert found["frechet_classifier"] > found["frechet_classifier_floor"]
            assert 0.0 <= found["recall_classifier"] <= 1.0
        assert ("mode_kl" in found) == (name in (*ON_POINTS, "ddgan-stacked"))
    stacked = figures(project, "features", STACKED)
    assert 1 <= figures(project, "evaluate", "ddgan-stacked")["modes"] <= 1000
    assert 100 < stacked["modes_floor"] <= 120 and stacked["mode_kl_floor"] > 0.0
    plots = project.root / "plots/evaluate/ddgan-digits"
    assert {path.stem for path in plots.glob("*.png")} == {"samples", "path", "guesses"}
    # 10 columns of 8 pixels, each 7 wide, and gaps of one.
    with Image.open(plots / "samples.png") as picture:
        assert picture.width == 10 * (8 * 7 + 1) + 1


def test_the_study_is_of_the_settings_that_its_rows_say() -> None:
    study = load_params(Path("pipelines/diffusion_gan/params.yaml"))
    points = study.pretrain["ddgan-25-gaussians"]
    assert isinstance(points, DenoisingGANPretrain) and points.discriminator == points.network
    # 6.4.7, toy data.
    assert points.network.kind == "points" and points.network.hidden == [512, 512, 512]
    assert points.diffusion.steps == 4 and points.optimiser.learning_rate == 1e-4
    assert (points.plan.steps, points.plan.batch_size) == (50_000, 512)
    # Rivals have one budget: as many updates of the discriminator, on as many points each.
    for rival, critics in (("gan", 1), ("wgan-gp", 5), ("ddpm", 1)):
        plan = study.pretrain[f"{rival}-25-gaussians"].plan
        assert plan.steps * critics == 50_000 and plan.batch_size == 512 * critics
        assert study.pretrain[f"{rival}-25-gaussians"].optimiser == points.optimiser
    # What the authors of WGAN-GP have for toy data, in gan_toy.py.
    wasserstein = study.pretrain["wgan-gp-25-gaussians"]
    assert isinstance(wasserstein, GANPretrain)
    assert wasserstein.objective.model_dump() == {
        "kind": "wasserstein",
        "penalty": 0.1,
        "critic_steps": 5,
    }
    for kind in ("ddgan", "gan", "wgan-gp", "ddpm"):
        name = f"{kind}-25-gaussians"
        first = study.pretrain[name].model_dump()
        for seed in (1, 2):
            assert study.pretrain[f"{name}-seed{seed}"].model_dump() == first | {"seed": seed}
        assert study.average[name].models == [name, f"{name}-seed1", f"{name}-seed2"]
    for data in ("mnist", "stacked-mnist"):
        four, once = (study.pretrain[f"ddgan-t{t}-{data}"] for t in (4, 1))
        many = study.pretrain[f"ddpm-{data}"]
        assert isinstance(four, DenoisingGANPretrain) and isinstance(many, DDPMPretrain)
        # T is all that differs; the diffusion model has the same network without a latent variable.
        steps = {"diffusion": four.diffusion.model_dump() | {"steps": 1}}
        assert once.model_dump() == four.model_dump() | steps
        network = four.network.model_dump(exclude={"mapping_layers", "embedding", "bounded"})
        assert many.network.model_dump() == network and many.plan == four.plan
