"""The data stages on the real data: Debian's and npm's packages, scikit-learn's digits, densities.

Needs the package registries, nothing else of the network.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from components.datasets.manifest import Manifest
from components.datasets.shards import read_split
from components.errors import UserError
from pipelines.runtime.settings import Params, load_params
from pipelines.stages import fetch, shard

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture
def params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    """The settings of the repository, in an empty folder that has its catalogue."""
    (tmp_path / "data").mkdir()
    shutil.copy(REPOSITORY / "data" / "catalog.yaml", tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SYMBIOSIS_DATA", raising=False)
    return load_params(REPOSITORY / "params.yaml")


def digests(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}


@pytest.mark.pipeline
@pytest.mark.parametrize(
    ("name", "mean", "first_labels"),
    [
        # The means that everyone who normalises these data sets knows.
        ("mnist", 0.1307, [5, 0, 4, 1, 9]),
        ("fashion-mnist", 0.2860, [9, 0, 0, 3, 0]),
    ],
)
def test_real_images(name: str, mean: float, first_labels: list[int], params: Params) -> None:
    fetch.main(name, params)
    shard.main(name, params)
    folder = Path("data/shards", name)
    manifest = Manifest.load(folder)
    assert manifest.mean[0] == pytest.approx(mean, abs=5e-5)
    train, test = (read_split(folder, split) for split in ("train", "test"))
    assert train.x.shape == (60_000, 1, 28, 28) and test.x.shape == (10_000, 1, 28, 28)
    assert train.labels is not None and train.labels[:5].tolist() == first_labels
    before = digests(folder)
    shard.main(name, params)
    assert digests(folder) == before


def test_digits(params: Params) -> None:
    fetch.main("digits", params)
    shard.main("digits", params)
    train, test = (read_split(Path("data/shards/digits"), split) for split in ("train", "test"))
    digits = load_digits()
    assert len(train) == 1_500 and len(test) == 297 and int(test.x.max()) == 255
    assert test.labels is not None and np.array_equal(test.labels.numpy(), digits.target[-297:])
    difference = test.x[:, 0].numpy() / 255 - digits.images[-297:] / 16
    assert np.abs(difference).max() < 0.5 / 255 + 1e-9


@pytest.mark.parametrize("name", ["25-gaussians", "swiss-roll", "checkerboard"])
def test_points(name: str, params: Params) -> None:
    fetch.main(name, params)
    shard.main(name, params)
    train, test = (read_split(Path("data/shards", name), split) for split in ("train", "test"))
    assert train.x.shape == test.x.shape == (100_000, 2) and train.labels is None


def test_a_users_own_images(params: Params) -> None:
    for i in range(12):
        path = Path("photographs", str(i % 2), f"{i}.jpg")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 30), (i, 2 * i, 3 * i)).save(path)
    with Path("data/catalog.yaml").open("a") as catalog:
        catalog.write(
            "mine: {kind: image-folder, path: photographs, size: 16, channels: 3, "
            "on_unreadable: error, test_fraction: 0.25}\n"
        )
    settings = params.model_copy(
        update={
            "fetch": {"mine": params.fetch["digits"]},
            "shard": {"mine": params.shard["digits"]},
        }
    )
    fetch.main("mine", settings)
    shutil.rmtree("photographs")  # what was fetched is all that is needed
    shard.main("mine", settings)
    manifest = Manifest.load(Path("data/shards/mine"))
    assert (manifest.shape, manifest.count("train"), manifest.count("test")) == ((3, 16, 16), 9, 3)
    assert read_split(Path("data/shards/mine"), "train").labels is None


def test_shard_before_fetch(params: Params) -> None:
    with pytest.raises(UserError, match="fetch it first with: dvc repro fetch@digits"):
        shard.main("digits", params)


@pytest.mark.parametrize(
    ("stage", "name", "said"),
    [
        ("fetch", "cifar", "error: no entry fetch.cifar in the settings; there are: fashion-mnist"),
        ("shard", "digits", "error: data/raw/digits/train-images-idx3-ubyte is missing; fetch it"),
    ],
)
def test_errors_are_one_line(stage: str, name: str, said: str, params: Params) -> None:
    settings = str(REPOSITORY / "params.yaml")
    done = subprocess.run(
        [sys.executable, "-m", f"pipelines.stages.{stage}", name, "--params", settings],
        env={"PYTHONPATH": str(REPOSITORY), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and not done.stdout
    assert done.stderr.startswith(said) and done.stderr.count("\n") == 1
