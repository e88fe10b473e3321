"""A folder of a user's own images, unlabelled, grey or in colour, through all stages to a page."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from components.errors import UserError
from components.models.export import load_model
from components.models.vaebm import VAEBM
from pipelines.runtime.settings import Params, load_params
from pipelines.stages import (
    compare,
    compose,
    evaluate,
    features,
    fetch,
    pretrain,
    report,
    sample,
    shard,
)
from tests.pipelines.small_project import FAR, NEAR, Content, Project

pytestmark = pytest.mark.pipeline
MINE = "my-photographs"
SIZE = 8


def photographs(folder: Path) -> None:
    """Pictures of several formats, sizes and modes, in folders of folders; two are none."""
    random = np.random.default_rng(0)
    kinds = [("png", "RGB"), ("jpg", "L"), ("webp", "RGB"), ("png", "RGBA"), ("tiff", "L")]
    for number in range(400):
        suffix, mode = kinds[number % len(kinds)]
        path = folder / f"trip {number % 3}" / f"{number % 7}" / f"{number}.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse = random.integers(0, 256, (3, 4, 4), dtype=np.uint8)
        pixels = coarse.repeat(4, axis=1).repeat(5, axis=2).transpose(1, 2, 0)
        Image.fromarray(pixels).convert(mode).save(path)
    (folder / "trip 0" / "cut.png").write_bytes((folder / "trip 0/0/0.png").read_bytes()[:40])
    (folder / "trip 1" / "no.jpg").write_text("no picture")
    (folder / "notes.txt").write_text("not looked at")


def own_entries(small: Content) -> Content:
    """The settings of the digits' models, for a data set without labels."""
    content = dict(small)
    content["fetch"][MINE] = {}
    content["shard"][MINE] = {"shard_megabytes": 16}
    judge = {"classifier": None, "extractors": ["imagenet"]}
    content["features"] = {MINE: content["features"]["digits"] | judge}
    base, composition = content["pretrain"]["vae-digits"], content["compose"]["vaebm-digits"]
    content["pretrain"]["vae-mine"] = base | {"data": MINE}
    select = composition["select"] | {"extractor": "imagenet"}
    content["compose"]["vaebm-mine"] = composition | {
        "data": MINE,
        "base": "vae-mine",
        "select": select,
    }
    for role in ("vae", "vaebm"):
        content["sample"][f"{role}-mine"] = content["sample"][f"{role}-digits"]
        content["evaluate"][f"{role}-mine"] = content["evaluate"][f"{role}-digits"] | {"data": MINE}
    names = {"base": "vae-mine", "composition": "vaebm-mine", "data": MINE, "page": "mine"}
    content["compare"]["mine"] = content["compare"]["digits"] | names | {"title": "Photographs"}
    content["report"] = {"mine": {"title": "My own", "studies": []}}
    return content


def with_own_images(project: Project, channels: int, on_unreadable: str) -> Params:
    """Do as the README says."""
    photographs(project.root / "photographs")
    catalogue = project.root / "data/catalog.yaml"
    own = {"kind": "image-folder", "licence": "my own", "path": "photographs", "size": SIZE}
    own |= {"channels": channels, "on_unreadable": on_unreadable, "test_fraction": 0.3}
    catalogue.write_text(catalogue.read_text() + yaml.safe_dump({MINE: own}))
    content = own_entries(project.settings())
    (project.root / "params.yaml").write_text(yaml.safe_dump(content))
    return load_params(project.root / "params.yaml")


@pytest.mark.parametrize("channels", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_from_folder_to_page(
    project: Project,
    channels: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    params = with_own_images(project, channels, "skip")
    monkeypatch.chdir(project.root)
    for name in (MINE, NEAR, FAR):
        fetch.main(name, params)
        with caplog.at_level(logging.WARNING):
            shard.main(name, params)
    for unreadable in ("trip 0/cut.png", "trip 1/no.jpg"):
        assert f"cannot read the image {unreadable}" in caplog.text
    assert caplog.text.count("(skipped)") == 2
    features.main(MINE, params)
    pretrain.main("vae-mine", params)
    compose.main("vaebm-mine", params)
    for name in ("vae-mine", "vaebm-mine"):
        sample.main(name, params)
        evaluate.main(name, params)
    compare.main("mine", params)
    report.main("mine", params)
    assert isinstance(load_model(Path("models/vaebm-mine")), VAEBM)
    assert np.load("samples/vaebm-mine/draw-0.npy").shape == (250, channels, SIZE, SIZE)
    figures = json.loads(Path("metrics/evaluate/vaebm-mine.json").read_text())
    assert figures["frechet_imagenet"] > figures["frechet_imagenet_floor"] > 0.0
    assert not [key for key in figures if "classifier" in key]
    page = Path("report/mine.html").read_text()
    assert "Photographs" in page and "vaebm-mine" in page
    assert "mine (my-photographs)" in Path("report/mine.txt").read_text()


def test_an_unreadable_image_can_be_an_error(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = with_own_images(project, 3, "error")
    monkeypatch.chdir(project.root)
    fetch.main(MINE, params)
    with pytest.raises(UserError, match=r"cannot read the image trip \d/(cut\.png|no\.jpg): .*"):
        shard.main(MINE, params)
    assert not Path("data/shards").exists() or not list(Path("data/shards").iterdir())
