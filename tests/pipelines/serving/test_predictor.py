"""Exported models behind MLflow's `predict`, loaded by `mlflow.pyfunc.load_model`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
import torch
from mlflow.pyfunc import PyFuncModel
from mlflow.tracking import MlflowClient

from components.errors import UserError
from components.images import quantise, to_unit
from components.models.build import Description, seeded
from components.models.export import export_model, load_model
from components.models.gradient_flow import GradientFlow
from components.models.latent_model import LatentModel
from components.models.short_run import ShortRunEBM
from components.models.vae import VAE
from components.models.vaebm import VAEBM
from components.samplers.langevin import LangevinSettings
from pipelines.runtime.settings import load_params
from pipelines.runtime.tracking import IDENTITY_TAG, Tracker
from pipelines.serving.package import log_model, save_predictor
from tests.pipelines.small_project import Project

CHAIN = LangevinSettings(steps=3, step_size=0.05)
POINTS: Description = {
    "kind": "vae",
    "shape": [2],
    "latent": 2,
    "likelihood": "gaussian",
    "network": {"kind": "mlp", "hidden": [8], "input_scale": 4.0},
}
IMAGES: Description = {
    "kind": "vaebm",
    "base": {
        "kind": "vae",
        "shape": [1, 8, 8],
        "latent": 3,
        "likelihood": "bernoulli",
        "network": {"kind": "dcgan", "width": 4, "depth": 1, "batch_norm": False},
    },
    "energy": {"kind": "conv", "width": 4, "multipliers": [1, 2], "normalisation": "none"},
    "space": "noise",
}
SHORT_RUN: Description = {
    "kind": "short-run-ebm",
    "shape": [1, 8, 8],
    "energy": {"kind": "conv", "width": 4, "multipliers": [1, 2], "normalisation": "none"},
    "langevin": {"steps": 3, "step_size": 0.05, "noise_scale": 0.1},
    "start": {"law": "normal", "scale": 1.0},
}
FLOW: Description = {
    "kind": "gradient-flow",
    "shape": [2],
    "energy": {"kind": "fully-connected", "hidden": [8]},
    "flow": {"time": 0.2, "tolerance": 1e-5},
}
LATENT: Description = {
    "kind": "latent",
    "shape": [1, 8, 8],
    "latent": 3,
    "network": {"kind": "infogan", "width": 2, "hidden": 8},
    "posterior": {"kind": "point"},
    "prior": {"kind": "flow", "blocks": 2, "hidden": 4},
}


def exported(folder: Path, description: Description) -> Path:
    folder.mkdir()
    export_model(folder, description, seeded(description, 0).state_dict(), {"stage": "test"})
    return folder


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Exported and packed models: points of a base, images of a composition."""
    root = tmp_path_factory.mktemp("serving")
    save_predictor(root / "packed-points", exported(root / "points", POINTS), None)
    save_predictor(root / "packed-images", exported(root / "images", IMAGES), CHAIN)
    return root


@pytest.fixture(scope="module")
def points(root: Path) -> PyFuncModel:
    return mlflow.pyfunc.load_model(str(root / "packed-points"))


@pytest.fixture(scope="module")
def images(root: Path) -> PyFuncModel:
    return mlflow.pyfunc.load_model(str(root / "packed-images"))


def drawn(root: Path, count: int, seed: int, chain: LangevinSettings) -> np.ndarray[Any, Any]:
    """What the exported composition gives without MLflow."""
    model = load_model(root / "images")
    assert isinstance(model, VAEBM)
    samples = model.sample(count, torch.Generator().manual_seed(seed), chain)
    return quantise(samples.items).numpy()


def test_a_flow_draws_points_and_knows_their_density(tmp_path: Path) -> None:
    save_predictor(tmp_path / "packed", exported(tmp_path / "flow", FLOW), None)
    served = mlflow.pyfunc.load_model(str(tmp_path / "packed"))
    points = served.predict(pd.DataFrame({"count": [4], "seed": [3]}))
    model = load_model(tmp_path / "flow")
    assert isinstance(model, GradientFlow)
    expected = model.sample(4, torch.Generator().manual_seed(3))
    assert points.dtype == np.float32
    np.testing.assert_array_equal(points, expected.numpy())
    scores = served.predict(pd.DataFrame({"items": list(points)}))
    np.testing.assert_array_equal(scores, model.log_prob(expected).numpy())


def test_images_are_those_of_the_model(root: Path, images: PyFuncModel) -> None:
    found = images.predict(pd.DataFrame({"count": [5, 2], "seed": [1, 7]}))
    assert found.dtype == np.uint8 and found.shape == (7, 1, 8, 8)
    np.testing.assert_array_equal(found[:5], drawn(root, 5, 1, CHAIN))
    np.testing.assert_array_equal(found[5:], drawn(root, 2, 7, CHAIN))
    assert len(np.unique(found)) > 2


def test_parameters_change_the_chain(root: Path, images: PyFuncModel) -> None:
    found = images.predict({"count": 4}, params={"steps": 6, "temperature": 0.5})
    chain = LangevinSettings(steps=6, step_size=CHAIN.step_size, temperature=0.5)
    np.testing.assert_array_equal(found, drawn(root, 4, 0, chain))
    assert (found != images.predict({"count": 4})).any()


def test_points_of_a_base(root: Path, points: PyFuncModel) -> None:
    found = points.predict({"count": 700})  # more than one call of the model
    model = load_model(root / "points")
    assert isinstance(model, VAE)
    generator = torch.Generator().manual_seed(0)
    parts = [model.sample(count, generator) for count in (500, 200)]
    np.testing.assert_array_equal(found, torch.cat(parts).numpy())
    assert found.dtype == np.float32
    assert {param.name for param in points.metadata.signature.params} == {
        "bound_samples",
        "bound_seed",
    }


def test_scores_are_log_densities(root: Path, images: PyFuncModel) -> None:
    items = images.predict({"count": 6})
    model = load_model(root / "images")
    assert isinstance(model, VAEBM)
    generator = torch.Generator().manual_seed(3)
    expected = model.log_prob_bound(to_unit(torch.from_numpy(items)), 20, generator).numpy()
    params = {"bound_samples": 20, "bound_seed": 3}
    for given in ({"items": items}, {"items": items.tolist()}):
        np.testing.assert_allclose(images.predict(given, params=params), expected, rtol=1e-5)
    frame = pd.DataFrame({"items": list(items)})
    np.testing.assert_allclose(images.predict(frame, params=params), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"seed": 3}, "give a column `count`"),
        ({"items": np.zeros((2, 1, 8, 9), np.uint8)}, r"shape \(1, 8, 8\), not \(1, 8, 9\)"),
        ({"items": np.zeros((2, 1, 8, 8))}, "whole numbers from 0 to 255"),
        ({"items": np.full((2, 1, 8, 8), 256)}, "whole numbers from 0 to 255"),
    ],
)
def test_mistakes_are_one_line(given: dict[str, Any], line: str, images: PyFuncModel) -> None:
    with pytest.raises(UserError, match=line):
        images.predict(given)


def test_signature_and_example(images: PyFuncModel) -> None:
    signature = images.metadata.signature
    assert [column.name for column in signature.inputs] == ["count", "seed", "items"]
    (output,) = signature.outputs
    assert output.shape == (-1, 1, 8, 8) and output.type == np.uint8
    assert {param.name: param.default for param in signature.params} == {
        "steps": 3,
        "step_size": 0.05,
        "noise_scale": 1.0,
        "temperature": 1.0,
        "bound_samples": 10,
        "bound_seed": 0,
    }
    assert images.predict(images.input_example).shape == (4, 1, 8, 8)


def test_nothing_is_pickled(root: Path, tmp_path: Path) -> None:
    save_predictor(tmp_path / "packed", root / "images", CHAIN)
    kept = {file.suffix for file in (tmp_path / "packed").rglob("*") if file.is_file()}
    assert kept == {"", ".py", ".json", ".yaml", ".txt", ".safetensors"}


IN_A_FRESH_PROCESS = """
import json, sys
import mlflow
uri, run = sys.argv[1:]
mlflow.set_tracking_uri(uri)
version = mlflow.register_model(f"runs:/{run}/model", "tilted")
model = mlflow.pyfunc.load_model(f"models:/tilted/{version.version}")
images = model.predict({"count": 3, "seed": 5})
import components
print(json.dumps({"images": images.tolist(), "code": components.__file__}))
"""


def test_registered_and_loaded_elsewhere(root: Path, project: Project, tmp_path: Path) -> None:
    runtime = load_params(project.root / "params.yaml").runtime
    tracker = Tracker(runtime, tmp_path)
    row = tracker.row("tilted", {IDENTITY_TAG: "1"}, {})
    log_model(row, root / "images", CHAIN)
    log_model(row, root / "images", CHAIN)  # a training that is repeated logs the same again
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", IN_A_FRESH_PROCESS, tracker.uri, row.run_id],
        cwd=elsewhere,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    np.testing.assert_array_equal(np.asarray(said["images"]), drawn(root, 3, 5, CHAIN))
    # The code beside the weights is used, not a checkout.
    assert Path(said["code"]).is_relative_to(tmp_path / "mlartifacts")
    (version,) = MlflowClient(tracker.uri).search_model_versions("name = 'tilted'")
    assert version.run_id == row.run_id and version.status == "READY"
    assert not list(elsewhere.iterdir())


def test_a_latent_model_draws_and_scores_nothing(tmp_path: Path) -> None:
    save_predictor(tmp_path / "packed", exported(tmp_path / "latent", LATENT), None)
    packed = mlflow.pyfunc.load_model(str(tmp_path / "packed"))
    found = packed.predict(pd.DataFrame({"count": [3, 2], "seed": [1, 7]}))
    model = load_model(tmp_path / "latent")
    assert isinstance(model, LatentModel)
    for rows, count, seed in ((slice(0, 3), 3, 1), (slice(3, 5), 2, 7)):
        drawn = quantise(model.sample(count, torch.Generator().manual_seed(seed)))
        np.testing.assert_array_equal(found[rows], drawn.numpy())
    assert found.shape == (5, 1, 8, 8) and found.dtype == np.uint8 and len(np.unique(found)) > 2
    with pytest.raises(UserError, match="no bound of log p") as caught:
        packed.predict({"items": found})
    assert "\n" not in str(caught.value)


def test_a_short_run_model_draws_by_its_own_steps_and_scores_nothing(tmp_path: Path) -> None:
    own = LangevinSettings(**SHORT_RUN["langevin"])
    save_predictor(tmp_path / "packed", exported(tmp_path / "short-run", SHORT_RUN), own)
    packed = mlflow.pyfunc.load_model(str(tmp_path / "packed"))
    model = load_model(tmp_path / "short-run")
    assert isinstance(model, ShortRunEBM)
    for params, chain in (({}, None), ({"steps": 6}, replace(own, steps=6))):
        found = packed.predict({"count": 4}, params=params)
        drawn = model.sample(4, torch.Generator().manual_seed(0), chain).items
        np.testing.assert_array_equal(found, quantise(drawn).numpy())
    with pytest.raises(UserError, match="no bound of log p"):
        packed.predict({"items": found})


@pytest.mark.parametrize(
    "description",
    [
        {"kind": "classifier", "shape": [1, 8, 8], "classes": 3, "width": 4},
        {**LATENT, "prior": {"kind": "none"}},
    ],
    ids=["classifier", "auto-encoder without a prior"],
)
def test_what_cannot_be_sampled_is_logged_as_it_is(
    description: Description, project: Project, tmp_path: Path
) -> None:
    folder = exported(tmp_path / "exported", description)
    tracker = Tracker(load_params(project.root / "params.yaml").runtime, tmp_path)
    row = tracker.row("plain", {IDENTITY_TAG: "2"}, {})
    log_model(row, folder, None)
    stored = tmp_path / "mlartifacts" / row.run_id / "artifacts/model"
    assert {file.name for file in stored.iterdir()} == {"model.json", "weights.safetensors"}
