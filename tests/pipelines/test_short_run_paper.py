"""Chapter 5's image settings: right as far as a machine without a GPU can tell."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from components.datasets.catalog import find_entry
from components.datasets.formats import item_shape
from components.models.short_run import ShortRunEBM
from pipelines.runtime.identity import REPOSITORY
from pipelines.runtime.launch import Place
from pipelines.runtime.settings import ShortRunEvaluate, ShortRunPretrain, load_params
from pipelines.training import short_run
from tests.pipelines.test_paper import write_random_shards

PARAMS = load_params(REPOSITORY / "pipelines/short_run_paper/params.yaml")
OTHERS = load_params(REPOSITORY / "pipelines/paper/params.yaml")
# Section 5.5.3 and Table 5.2: data, image side, filters, their multiples, K, iterations.
SETS = {
    "mnist": ("mnist-32-paper", 32, 32, [1, 2, 2, 2], 40, 8000),
    "fashion": ("fashion-32-paper", 32, 32, [1, 2, 2, 2], 40, 8000),
    "cifar": ("cifar-10", 32, 64, [1, 2, 4, 8], 60, 40000),
    "celeba": ("celeba", 64, 32, [1, 2, 4, 8, 16], 60, 30000),
}
# Noise scale and weight of the generator loss of the rows of Table 5.1, and its FIDs.
ROWS = {"noisy": (0.1, 0.0), "noise-free": (0.0, 0.0), "generator": (0.0, 1.0)}
FIDS = {
    "mnist": [15.4, 11.7, 7.7],
    "fashion": [61.7, 50.1, 40.6],
    "cifar": [70.4, 61.6, 47.9],
    "celeba": [69.6, 56.6, 34.8],
}


def entry(row: str, name: str) -> ShortRunPretrain:
    settings = PARAMS.pretrain[f"ebm-{row}-{name}-paper"]
    assert isinstance(settings, ShortRunPretrain)
    return settings


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("row", ROWS)
def test_settings_are_those_of_section_5_5_3(row: str, name: str) -> None:
    settings, (data, side, width, multipliers, steps, iterations) = entry(row, name), SETS[name]
    noise_scale, weight = ROWS[row]
    assert settings.data == data
    assert item_shape(find_entry(REPOSITORY / "data/catalog.yaml", data))[1:] == (side, side)
    energy = {"kind": "conv", "width": width, "multipliers": multipliers, "normalisation": "none"}
    assert settings.energy.model_dump() == energy
    chain = settings.langevin
    assert (chain.steps, chain.step_size, chain.noise_scale) == (steps, 0.1, noise_scale)
    assert chain.temperature == 1.0 and not chain.metropolis and chain.precision == "float32"
    assert settings.start.law == "normal" and settings.start.scale == 1.0
    assert settings.generator_weight == weight and settings.energy_magnitude == 0.0
    assert settings.replay is None
    assert settings.optimiser.learning_rate == 5e-4 and settings.optimiser.decay == "constant"
    assert settings.plan.batch_size == 64 and settings.plan.steps == iterations


def test_every_model_is_sampled_judged_and_in_its_table() -> None:
    assert PARAMS.runtime.gpu
    assert len(PARAMS.pretrain) == len(SETS) * len(ROWS)
    for name, fids in FIDS.items():
        models = [f"ebm-{row}-{name}-paper" for row in ROWS]
        table = PARAMS.tabulate[f"short-run-{name}-paper"]
        assert [row.model for row in table.rows] == models
        assert [row.paper_fid for row in table.rows] == fids
        assert table.extractor == "inception-v3-compat"
        for model in models:
            judging = PARAMS.evaluate[model]
            assert isinstance(judging, ShortRunEvaluate)
            assert judging.data == table.data == SETS[name][0]
            assert PARAMS.sample[model].count == 10000
    # Every data set has shards and features, here or in the study of chapter 3.
    used = {data for data, *_ in SETS.values()}
    assert used <= (PARAMS.shard.keys() | OTHERS.shard.keys())
    assert used <= (PARAMS.features.keys() | OTHERS.features.keys())


@pytest.mark.parametrize("name", SETS)
def test_a_model_is_built_and_takes_a_step(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = entry("generator", name)
    plan = settings.plan.model_copy(update={"batch_size": 2, "validation_count": 1})
    chain = settings.langevin.model_copy(update={"steps": 2})
    settings = settings.model_copy(update={"plan": plan, "langevin": chain})
    shape = item_shape(find_entry(REPOSITORY / "data/catalog.yaml", settings.data))
    monkeypatch.chdir(tmp_path)
    write_random_shards(settings.data, shape)
    training = short_run.training_of("ebm", settings)
    described = {
        "model": training.model,
        "settings": settings.model_dump(mode="json"),
        "shards": f"data/shards/{settings.data}",
    }
    place = Place(0, 1, torch.device("cpu"), memory_limit_mb=100, compile=False, pin_memory=False)
    task = short_run.build(described, place)
    model = task.learner.model
    assert isinstance(model, ShortRunEBM) and model.shape == shape
    before = [parameter.clone() for parameter in model.energy.parameters()]
    metrics = task.learner.training_step(task.batches.next(), 0)
    assert math.isfinite(float(metrics["loss"]))
    after = model.energy.parameters()
    assert any(not torch.equal(old, new) for old, new in zip(before, after, strict=True))
    assert model.sample(2, torch.Generator().manual_seed(0)).items.shape == (2, *shape)
