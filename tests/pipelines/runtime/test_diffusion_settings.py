"""Settings of denoising models: parts that do not go together are one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from components.learners.denoising_gan import AdversarialSettings, DenoisingGANLearner
from components.samplers.diffusion import DiffusionSettings
from pipelines.runtime.launch import Place
from pipelines.runtime.settings import (
    DDPMPretrain,
    DenoisingGANPretrain,
    Diffusion,
    GANPretrain,
    Settings,
)
from pipelines.runtime.settings.base import one_line
from pipelines.training import denoising_gan as denoising
from pipelines.training.denoising import diffusion_of
from tests.pipelines.small_project import small_settings
from tests.pipelines.test_paper import write_random_shards

VP = {"kind": "variance-preserving", "beta_min": 0.1, "beta_max": 20.0}
UNET = {
    "kind": "unet",
    "width": 4,
    "multipliers": [1, 2],
    "blocks": 1,
    "attention": [],
    "progressive": True,
    "dropout": 0.0,
}
LATENT_UNET = UNET | {"mapping_layers": 1, "embedding": 8, "bounded": True}
POINTS = {"kind": "points", "hidden": [8]}
RESIDUAL = {
    "kind": "residual",
    "width": 4,
    "multipliers": [1, 2],
    "down": [True, True],
    "embedding": 8,
    "groups_of_one_time": False,
    "common_noise": True,
}
GAME = {"gamma": 0.05, "r1_every": 2, "augmentation": 0}


def common() -> dict[str, Any]:
    vae = small_settings()["pretrain"]["vae-digits"]
    settings = {key: vae[key] for key in ("data", "seed", "optimiser", "plan")}
    return settings | {"scale": 1.0, "select": {"kind": "last"}}


def denoising_gan() -> dict[str, Any]:
    optimiser = common()["optimiser"]
    return common() | {
        "kind": "denoising-gan",
        "network": LATENT_UNET,
        "latent": 3,
        "diffusion": {"steps": 2, "schedule": VP},
        "predicts": "clean",
        "discriminator": RESIDUAL,
        "game": GAME,
        "discriminator_optimiser": optimiser | {"ema": 0.0},
    }


def ddpm() -> dict[str, Any]:
    return common() | {
        "kind": "ddpm",
        "network": UNET,
        "diffusion": {"steps": 6, "schedule": VP},
        "sampler": {"kind": "ddim", "steps": 3, "eta": 0.0},
    }


def gan() -> dict[str, Any]:
    return common() | {
        "kind": "gan",
        "network": POINTS,
        "latent": 2,
        "scale": 4.745,
        "discriminator": POINTS,
        "objective": {"kind": "wasserstein", "penalty": 10.0, "critic_steps": 2},
        "discriminator_optimiser": common()["optimiser"],
    }


KINDS: dict[str, tuple[type[Settings], dict[str, Any]]] = {
    "denoising-gan": (DenoisingGANPretrain, denoising_gan()),
    "ddpm": (DDPMPretrain, ddpm()),
    "gan": (GANPretrain, gan()),
}


@pytest.mark.parametrize(
    ("kind", "changes", "line"),
    [
        ("denoising-gan", {"discriminator": POINTS}, "network and discriminator of points, or nei"),
        (
            "denoising-gan",
            {"game": GAME | {"augmentation": 4}},
            "game.augmentation 0: it is for diffusion.steps 1",
        ),
        (
            "denoising-gan",
            {"predicts": "previous", "network": LATENT_UNET | {"bounded": False}},
            "discriminator.common_noise false with predicts previous",
        ),
        ("denoising-gan", {"predicts": "noise"}, "network.bounded false with predicts noise"),
        (
            "denoising-gan",
            {"predicts": "x0"},
            "predicts: 'x0' is not allowed; it should be 'clean'",
        ),
        ("denoising-gan", {"scale": 2.0}, "scale 1: images are stretched to [-1, 1]"),
        (
            "denoising-gan",
            {"discriminator": RESIDUAL | {"down": [True]}},
            "down for each of the 2 multipliers",
        ),
        ("denoising-gan", {"network": LATENT_UNET | {"width": 6}}, "network.width: 6 is not allow"),
        (
            "denoising-gan",
            {"diffusion": {"steps": 0, "schedule": VP}},
            "diffusion.steps: 0 is not allowed; it should be greater than or equal to 1",
        ),
        (
            "denoising-gan",
            {"diffusion": {"steps": 2, "schedule": {"kind": "cosine"}}},
            "kind 'cosine' is unknown; allowed: 'variance-preserving', 'geometric'",
        ),
        (
            "ddpm",
            {"diffusion": {"steps": 2, "schedule": VP | {"beta_min": 30.0}}},
            "beta_min at most beta_max",
        ),
        ("ddpm", {"network": LATENT_UNET}, "network.mapping_layers: unknown setting"),
        ("ddpm", {"scale": 2.0}, "scale 1: images are stretched to [-1, 1]"),
        ("ddpm", {"sampler": {"kind": "euler"}}, "kind 'euler' is unknown; allowed: 'ancestral'"),
        ("gan", {"latent": 0}, "latent: 0 is not allowed; it should be greater than or equal to 1"),
        (
            "gan",
            {"network": POINTS | {"kind": "unet"}},
            "network.kind: 'unet' is not allowed; it should be 'points'",
        ),
    ],
)
def test_what_is_wrong_is_one_line(kind: str, changes: dict[str, Any], line: str) -> None:
    schema, own = KINDS[kind]
    content = own | changes
    with pytest.raises(ValidationError) as error:
        schema.model_validate(content)
    said = one_line(error.value, "params.yaml", content)
    assert line in said and "\n" not in said


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("denoising-gan", {}),
        ("denoising-gan", {"latent": 0}),
        (
            "denoising-gan",
            {
                "predicts": "previous",
                "network": LATENT_UNET | {"bounded": False},
                "discriminator": RESIDUAL | {"common_noise": False},
            },
        ),
        ("denoising-gan", {"network": POINTS, "discriminator": POINTS, "scale": 4.745}),
        ("ddpm", {"network": POINTS, "scale": 4.745}),
        ("ddpm", {"sampler": {"kind": "ode", "tolerance": 1e-3}}),
        ("gan", {"objective": {"kind": "non-saturating"}}),
    ],
)
def test_what_goes_together(kind: str, changes: dict[str, Any]) -> None:
    schema, own = KINDS[kind]
    settings = schema.model_validate(own | changes)
    kept = settings.model_dump(mode="json")
    assert {key: kept[key] for key in changes} == changes


@pytest.mark.parametrize(
    "schedule", [VP, {"kind": "geometric", "smallest": 0.01, "largest": 0.999}]
)
def test_a_schedule_is_the_process_s(schedule: dict[str, Any]) -> None:
    settings = Diffusion.model_validate({"steps": 4, "schedule": schedule})
    process = DiffusionSettings(**diffusion_of(settings))
    assert (process.steps, process.schedule) == (4, schedule["kind"])
    for key, value in schedule.items():
        assert key == "kind" or getattr(process, key) == value


@pytest.mark.parametrize("changes", [{"groups_of_one_time": True}, {"common_noise": False}])
def test_a_learner_plays_the_game_that_is_set(
    changes: dict[str, bool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_random_shards("digits", (1, 8, 8))
    judge, own = RESIDUAL | changes, denoising_gan()
    plan = own["plan"] | {"batch_size": 2, "validation_count": 1}
    settings = DenoisingGANPretrain.model_validate(own | {"discriminator": judge, "plan": plan})
    described = {
        "model": denoising.training_of("ddgan-digits", settings).model,
        "settings": settings.model_dump(mode="json"),
        "shards": "data/shards/digits",
    }
    place = Place(0, 1, torch.device("cpu"), memory_limit_mb=100, compile=False, pin_memory=False)
    learner = denoising.build(described, place).learner
    assert isinstance(learner, DenoisingGANLearner)
    shown = (judge["groups_of_one_time"], judge["common_noise"])
    assert learner.settings == AdversarialSettings(0.05, 2, 0, *shown)
