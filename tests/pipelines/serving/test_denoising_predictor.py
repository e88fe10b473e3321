"""Denoising models behind MLflow's `predict`, loaded by `mlflow.pyfunc.load_model`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
import torch

from components.errors import UserError
from components.images import quantise
from components.models.build import Description
from components.models.ddpm import DDPM, DDPMSampler
from components.models.denoising_gan import DenoisingGAN
from components.models.export import load_model
from components.models.plain_gan import PlainGAN
from pipelines.serving.package import save_predictor
from tests.pipelines.serving.test_predictor import exported

SCHEDULE = {"schedule": "variance-preserving", "beta_min": 0.1, "beta_max": 20.0}
UNET = {"kind": "unet", "width": 4, "multipliers": [1, 2], "blocks": 1}
FEW_STEPS: Description = {
    "kind": "denoising-gan",
    "shape": [1, 8, 8],
    "network": UNET | {"mapping_layers": 1, "embedding": 8, "bounded": True},
    "latent": 3,
    "diffusion": SCHEDULE | {"steps": 2},
    "predicts": "clean",
    "scale": 1.0,
}
MANY_STEPS: Description = {
    "kind": "ddpm",
    "shape": [1, 8, 8],
    "network": UNET,
    # So little noise that a network that has learned nothing makes no images of black and white.
    "diffusion": {"schedule": "geometric", "smallest": 0.01, "largest": 0.5, "steps": 6},
    "sampler": {"kind": "ddim", "steps": 3, "eta": 0.0},
    "scale": 1.0,
}
ONE_STEP: Description = {
    "kind": "gan",
    "shape": [2],
    "network": {"kind": "points", "hidden": [8]},
    "latent": 2,
    "scale": 3.0,
}


def served(folder: Path, description: Description) -> tuple[Any, Any]:
    """The model behind MLflow, and without it."""
    save_predictor(folder / "packed", exported(folder / "exported", description), None)
    return mlflow.pyfunc.load_model(str(folder / "packed")), load_model(folder / "exported")


def stream(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_images_of_few_steps_are_those_of_the_model(tmp_path: Path) -> None:
    packed, model = served(tmp_path, FEW_STEPS)
    assert isinstance(model, DenoisingGAN)
    found = packed.predict(pd.DataFrame({"count": [3, 2], "seed": [1, 7]}))
    expected = [quantise(model.sample(n, stream(seed)).items) for n, seed in ((3, 1), (2, 7))]
    assert found.dtype == np.uint8 and found.shape == (5, 1, 8, 8) and found.std() > 1.0
    np.testing.assert_array_equal(found, torch.cat(expected).numpy())
    with pytest.raises(UserError, match="no bound of log p"):
        packed.predict(pd.DataFrame({"items": list(found)}))


def test_a_diffusion_model_is_sampled_as_is_asked_for(tmp_path: Path) -> None:
    packed, model = served(tmp_path, MANY_STEPS)
    assert isinstance(model, DDPM)
    own = packed.predict({"count": 3})
    np.testing.assert_array_equal(own, quantise(model.sample(3, stream(0)).items).numpy())
    ways = {"kind": "ancestral"}, {"kind": "ddim", "steps": 2, "eta": 1.0}
    for params in ways:
        found = packed.predict({"count": 3}, params=params)
        drawn = model.sample(3, stream(0), sampler=DDPMSampler(**params))
        np.testing.assert_array_equal(found, quantise(drawn.items).numpy())
        assert (found != own).any()
    with pytest.raises(UserError, match="ancestral, ddim or ode, not euler"):
        packed.predict({"count": 3}, params={"kind": "euler"})


def test_points_of_one_step_are_those_of_the_model(tmp_path: Path) -> None:
    packed, model = served(tmp_path, ONE_STEP)
    assert isinstance(model, PlainGAN)
    found = packed.predict({"count": 600})  # more than one call of the model
    generator = stream(0)
    expected = torch.cat([model.sample(rows, generator).items for rows in (500, 100)])
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected.numpy())
