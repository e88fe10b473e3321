"""The dissertation's own settings: right as far as a machine without a GPU can tell."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from dvc.repo import Repo

from components.datasets.catalog import find_entry
from components.datasets.formats import item_shape
from components.datasets.loading import split_validation
from components.datasets.shards import Manifest, RawSplit, read_split, write_shards
from components.models.latent_model import LatentModel
from pipelines.runtime.identity import REPOSITORY
from pipelines.runtime.launch import Place
from pipelines.runtime.settings import (
    HalvingDecay,
    LatentCompose,
    LatentPretrain,
    PerceptualReconstruction,
    load_params,
)
from pipelines.training import latent

STUDY = REPOSITORY / "pipelines/paper"
STUDY_FILE = "pipelines/paper/dvc.yaml"
CATALOG = REPOSITORY / "data/catalog.yaml"
PARAMS = load_params(STUDY / "params.yaml")
TRAIN_IMAGES = {
    "mnist-paper": 60000,
    "fashion-paper": 60000,
    "cifar-10": 50000,
    "celeba": 162000,
    "celeba-hq-256": 27000,
}
# Every row of Table 3.1 on one shape, and GLF on every shape: data sets share all else.
BUILT = [name for name in PARAMS.pretrain if name.endswith("-mnist-paper")]
BUILT += ["glf-cifar-paper", "glf-celeba-paper", "glf-celeba-hq-paper"]


def trainings() -> Iterator[tuple[str, LatentPretrain | LatentCompose]]:
    """All entries that are trained in steps."""
    for name, settings in [*PARAMS.pretrain.items(), *PARAMS.compose.items()]:
        assert isinstance(settings, LatentPretrain | LatentCompose)
        if settings.optimiser is not None:
            yield name, settings


def epochs(steps: int, settings: LatentPretrain | LatentCompose) -> float:
    """Steps in epochs of the training images that are kept."""
    plan = settings.plan
    kept = TRAIN_IMAGES[settings.data] - plan.validation_count
    return steps / (kept // plan.batch_size)


def schedule(name: str, settings: LatentPretrain | LatentCompose) -> tuple[int, int | None]:
    """(epochs, epochs until a halving or None) that section 3.4.3 gives an entry."""
    method, data = name.split("-", 1)[0], settings.data
    second = name.startswith("two-stage")
    if data == "celeba-hq-256":
        return 60, 40
    if method == "first" or second:
        first_stage = {"cifar-10": (1000, 300), "celeba": (120, 48)}.get(data, (400, 150))
        second_stage = {"cifar-10": (2000, 600), "celeba": (300, 120)}.get(data, (800, 300))
        return second_stage if second else first_stage
    if method == "vae":
        return {"cifar-10": (400, 100), "celeba": (80, 40)}.get(data, (200, 100))
    return {"cifar-10": (200, 50), "celeba": (40, None)}.get(data, (100, 50))


@pytest.mark.parametrize(("name", "settings"), trainings())
def test_lengths_are_those_of_section_3_4_3(
    name: str, settings: LatentPretrain | LatentCompose
) -> None:
    length, halved = schedule(name, settings)
    optimiser = settings.optimiser
    assert optimiser is not None
    assert epochs(settings.plan.steps, settings) == pytest.approx(length, rel=2e-3)
    if halved is None:
        assert optimiser.decay == "constant"
    else:
        assert isinstance(optimiser.decay, HalvingDecay)
        assert epochs(optimiser.decay.every, settings) == pytest.approx(halved, rel=2e-3)
    two_stages = name.startswith(("first-vae", "two-stage"))
    assert optimiser.learning_rate == (1e-4 if two_stages else 1e-3)
    small = two_stages or settings.data == "celeba-hq-256"
    assert settings.plan.batch_size == (64 if small else 256)


@pytest.mark.parametrize("name", PARAMS.pretrain)
def test_settings_of_a_model(name: str) -> None:
    settings = PARAMS.pretrain[name]
    assert isinstance(settings, LatentPretrain)
    grey = settings.data in ("mnist-paper", "fashion-paper")
    if settings.data != "celeba-hq-256":
        network = {"kind": "infogan", "width": 64, "hidden": 1024}
        assert settings.network.model_dump() == network and settings.latent == (20 if grey else 64)
    flow = {"kind": "flow", "blocks": 4, "hidden": 64 if grey else 256}
    for law in (settings.prior, settings.posterior):
        assert law.kind != "flow" or law.model_dump() == flow
    if settings.prior_optimiser is not None:
        expected = settings.optimiser.model_dump() | {"weight_decay": 2e-5}
        assert settings.prior_optimiser.model_dump() == expected
    assert settings.stop_gradient == name.startswith("glf")


def test_data_sets_and_judges_belong_together() -> None:
    assert PARAMS.runtime.gpu
    for section in (PARAMS.fetch, PARAMS.shard, PARAMS.features):
        assert section.keys() == TRAIN_IMAGES.keys()
    for name, settings in PARAMS.evaluate.items():
        trained: Any = PARAMS.pretrain.get(name) or PARAMS.compose[name]
        assert settings.data == trained.data and name in PARAMS.sample
    for name, settings in PARAMS.compose.items():
        assert PARAMS.pretrain[settings.base].data == settings.data, name


@pytest.mark.parametrize("name", BUILT)
def test_a_model_is_built_and_takes_a_step(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = PARAMS.pretrain[name]
    assert isinstance(settings, LatentPretrain)
    small = settings.plan.model_copy(update={"batch_size": 2, "validation_count": 1})
    changes: dict[str, Any] = {"plan": small}
    if isinstance(settings.reconstruction, PerceptualReconstruction):
        weights = {"vgg_weights": str(random_vgg(tmp_path / "vgg16.pth"))}
        changes["reconstruction"] = settings.reconstruction.model_copy(update=weights)
    settings = settings.model_copy(update=changes)
    shape = item_shape(find_entry(CATALOG, settings.data))
    monkeypatch.chdir(tmp_path)
    write_random_shards(settings.data, shape)

    training = latent.training_of(name, settings)
    described = {
        "model": training.model,
        "settings": settings.model_dump(mode="json"),
        "shards": f"data/shards/{settings.data}",
    }
    place = Place(0, 1, torch.device("cpu"), memory_limit_mb=100, compile=False, pin_memory=False)
    task = latent.build(described, place)
    model = task.learner.model
    assert isinstance(model, LatentModel)
    before = [next(part.parameters()).clone() for part in (model.encoder, model.decoder)]
    metrics = task.learner.training_step(task.batches.next(), 0)
    assert math.isfinite(float(metrics["loss"]))
    for part, old in zip((model.encoder, model.decoder), before, strict=True):
        assert not torch.equal(next(part.parameters()), old)
    held_out = split_validation(read_split(Path(described["shards"]), "train"), 1)[1].x
    again = model.eval().reconstruct(held_out.float() / 255.0)
    assert again.shape == (1, *shape)


def write_random_shards(data: str, shape: tuple[int, ...]) -> Manifest:
    """A few images of noise."""
    noise = np.random.default_rng(0).integers(0, 256, (3, *shape), dtype=np.uint8)
    return write_shards(
        Path("data/shards") / data,
        {split: RawSplit(len(noise), [(noise, None)]) for split in ("train", "test")},
        name=data,
        kind="images",
        shape=shape,
        classes=(),
        shard_megabytes=4,
    )


def random_vgg(path: Path) -> Path:
    """A file of VGG-16's layout."""
    from torchvision.models import vgg16

    with torch.device("meta"):
        layout = vgg16(weights=None, init_weights=False).features.state_dict()
    generator = torch.Generator().manual_seed(0)
    weights = {
        f"features.{key}": 0.02 * torch.randn(value.shape, generator=generator)
        for key, value in layout.items()
    }
    torch.save(weights, path)
    return path


def test_stages_resolve_and_no_output_has_two_makers(tmp_path: Path) -> None:
    files = [REPOSITORY / "dvc.yaml", *REPOSITORY.glob("pipelines/*/dvc.yaml")]
    settings = [each.with_name("params.yaml") for each in files]
    for file in [*files, *(each for each in settings if each.is_file()), CATALOG]:
        target = tmp_path / file.relative_to(REPOSITORY)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)
    with Repo.init(str(tmp_path), no_scm=True) as repo:
        stages = list(repo.index.stages)
        repo.check_graph(stages)  # raises where an output has two makers
    content = yaml.safe_load((STUDY / "params.yaml").read_text())
    asked = {f"{stage}@{name}" for stage in content.keys() - {"runtime"} for name in content[stage]}
    study = {stage.name: stage for stage in stages if Path(stage.path) == tmp_path / STUDY_FILE}
    assert study.keys() == asked
    made = {out.fs_path for stage in stages for out in stage.outs}
    for name, stage in study.items():
        for dependency in stage.deps:
            path = Path(dependency.fs_path).relative_to(tmp_path)
            assert dependency.fs_path in made or (REPOSITORY / path).exists(), (name, path)
