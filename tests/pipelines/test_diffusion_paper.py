"""Chapter 6's own settings: right as far as a machine without a GPU can tell."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from components.datasets.catalog import find_entry
from components.datasets.formats import item_shape
from components.learners.denoising_gan import DenoisingGANLearner
from pipelines.runtime.identity import REPOSITORY
from pipelines.runtime.launch import Place
from pipelines.runtime.settings import (
    DenoisingGANPretrain,
    DenoisingImageEvaluate,
    DenoisingSample,
    load_params,
)
from pipelines.training import denoising_gan
from tests.pipelines.test_paper import write_random_shards

PARAMS = load_params(REPOSITORY / "pipelines/diffusion_gan_paper/params.yaml")
OTHERS = [
    load_params(REPOSITORY / f"pipelines/{name}/params.yaml") for name in ("paper", "short_run")
]
CATALOG = REPOSITORY / "data/catalog.yaml"
HALVED = [False, True, True, True, True]
# Tables 6.6 to 6.8: data, side, channels, multipliers, latent, embedding of w; the discriminator's
# multipliers and whether it halves; γ; the generator's rate, EMA, batch, thousands of iterations.
MODELS = {
    "ddgan-cifar-paper": (
        ("cifar-10", 32, 128, [1, 2, 2, 2], 256, 512),
        ([1, 2, 4, 4, 4], HALVED),
        (0.05, 1.6e-4, 0.9999, 128, 400),
    ),
    "ddgan-celeba-hq-paper": (
        ("celeba-hq-256", 256, 64, [1, 1, 2, 2, 4, 4], 100, 256),
        ([2, 4, 4, 4, 4, 4], [True] * 6),
        (1.0, 1.6e-4, 0.999, 32, 750),
    ),
    "ddgan-lsun-paper": (
        ("lsun-church-256", 256, 128, [1, 1, 2, 2, 4, 4], 100, 256),
        ([2, 4, 4, 4, 4, 4], [True] * 6),
        (1.0, 2.0e-4, 0.999, 64, 600),
    ),
    "ddgan-stacked-mnist-paper": (
        ("stacked-mnist-32", 32, 128, [1, 2, 2, 2], 256, 512),
        ([1, 2, 4, 4, 4], HALVED),
        (0.05, 1.6e-4, 0.9999, 128, 150),
    ),
}
# Lines of Table 6.2: what is not as in ddgan-cifar-paper.
ABLATIONS: dict[str, dict[str, Any]] = {
    "ddgan-t1-cifar-paper": {"diffusion.steps": 1, "plan.steps": 200_000},
    "ddgan-t2-cifar-paper": {"diffusion.steps": 2, "plan.steps": 200_000},
    "ddgan-t8-cifar-paper": {"diffusion.steps": 8, "plan.steps": 600_000},
    "gan-augmented-cifar-paper": {
        "diffusion.steps": 1,
        "plan.steps": 200_000,
        "game.augmentation": 4,
    },
    "ddgan-direct-cifar-paper": {"predicts": "previous", "network.bounded": False},
    "ddgan-noise-cifar-paper": {"predicts": "noise", "network.bounded": False},
    "ddgan-no-latent-cifar-paper": {"latent": 0},
}


def entry(name: str) -> DenoisingGANPretrain:
    settings = PARAMS.pretrain[name]
    assert isinstance(settings, DenoisingGANPretrain)
    return settings


@pytest.mark.parametrize("name", MODELS)
def test_settings_are_those_of_tables_6_6_to_6_8(name: str) -> None:
    settings, (generator, discriminator, training) = entry(name), MODELS[name]
    data, side, width, multipliers, latent, embedding = generator
    assert settings.data == data and item_shape(find_entry(CATALOG, data)) == (3, side, side)
    network = settings.network
    assert network.kind == "unet" and network.blocks == 2 and network.attention == [16]
    assert (network.width, network.multipliers) == (width, multipliers)
    assert (settings.latent, network.mapping_layers, network.embedding) == (latent, 3, embedding)
    judge = settings.discriminator
    assert judge.kind == "residual" and judge.width == 128
    assert (judge.multipliers, judge.down) == discriminator
    assert not judge.groups_of_one_time and not judge.common_noise
    gamma, rate, ema, batch, thousands = training
    assert settings.game.gamma == gamma and settings.diffusion.steps == 4
    assert settings.optimiser.learning_rate == rate and settings.optimiser.ema == ema
    assert settings.discriminator_optimiser.learning_rate == 1e-4
    for optimiser in (settings.optimiser, settings.discriminator_optimiser):
        assert optimiser.betas == (0.5, 0.9) and optimiser.decay == "cosine"
    assert settings.plan.batch_size == batch and settings.plan.steps == 1000 * thousands


@pytest.mark.parametrize("name", ABLATIONS)
def test_an_ablation_differs_by_its_line_of_table_6_2(name: str) -> None:
    main, own = (entry(each).model_dump() for each in ("ddgan-cifar-paper", name))
    for path, value in ABLATIONS[name].items():
        *sections, key = path.split(".")
        before, after = main, own
        for section in sections:
            before, after = before[section], after[section]
        assert after[key] == value != before[key]
        after[key] = before[key]
    assert own == main


def test_every_model_is_sampled_judged_and_the_ablations_are_a_table() -> None:
    assert PARAMS.runtime.gpu
    assert PARAMS.pretrain.keys() == MODELS.keys() | ABLATIONS.keys()
    for name, settings in PARAMS.pretrain.items():
        drawn, judged = PARAMS.sample[name], PARAMS.evaluate[name]
        assert isinstance(drawn, DenoisingSample) and isinstance(judged, DenoisingImageEvaluate)
        assert drawn.model == judged.model == name and judged.data == settings.data
        assert judged.timing_count == 100
    rows = [row.name for row in PARAMS.tabulate_denoising["ablations-cifar-paper"].rows]
    assert set(rows) == ABLATIONS.keys() | {"ddgan-cifar-paper"}
    # Every data set has shards and features, here or in the studies of chapters 3 and 5.
    used = {settings.data for settings in PARAMS.pretrain.values()}
    assert used <= {data for each in (PARAMS, *OTHERS) for data in each.shard}
    assert used <= {data for each in (PARAMS, *OTHERS) for data in each.features}
    stacked = PARAMS.features["stacked-mnist-32"]
    assert stacked.kind == "stacked-images" and stacked.digits in OTHERS[1].features


# A step takes seconds, of 256 pixels a minute: the others run in make test-all.
QUICK = ("ddgan-cifar-paper", "gan-augmented-cifar-paper", "ddgan-no-latent-cifar-paper")
STEPPED = [
    pytest.param(name, marks=() if name in QUICK else pytest.mark.slow)
    for name in (*MODELS, *ABLATIONS)
]


@pytest.mark.parametrize("name", STEPPED)
def test_a_model_is_built_and_takes_a_step(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = entry(name)
    count = 1 if "256" in settings.data else 2
    plan = settings.plan.model_copy(update={"batch_size": count, "validation_count": 1})
    settings = settings.model_copy(update={"plan": plan})
    shape = item_shape(find_entry(CATALOG, settings.data))
    monkeypatch.chdir(tmp_path)
    write_random_shards(settings.data, shape)
    described = {
        "model": denoising_gan.training_of(name, settings).model,
        "settings": settings.model_dump(mode="json"),
        "shards": f"data/shards/{settings.data}",
    }
    place = Place(0, 1, torch.device("cpu"), memory_limit_mb=100, compile=False, pin_memory=False)
    task = denoising_gan.build(described, place)
    learner = task.learner
    assert isinstance(learner, DenoisingGANLearner) and learner.model.shape == shape
    before = [
        next(network.parameters()).clone()
        for network in (learner.model.generator, learner.discriminator)
    ]
    metrics = learner.training_step(task.batches.next(), 0)
    assert all(math.isfinite(float(value)) for value in metrics.values())
    assert float(metrics["r1"]) > 0.0
    after = [
        next(network.parameters()) for network in (learner.model.generator, learner.discriminator)
    ]
    assert all(not torch.equal(*pair) for pair in zip(before, after, strict=True))
