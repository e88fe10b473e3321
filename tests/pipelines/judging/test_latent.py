"""A latent model is judged by figures that are known in advance, and leaves its pictures."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from components.errors import UserError
from components.learners.learner import as_model_input
from components.metrics.extractors import extract_features
from components.models.build import seeded
from components.models.export import export_model
from components.models.latent_model import LatentModel
from pipelines.judging.latent import (
    Latents,
    encoded,
    interpolated,
    judge_latent,
    latent_figures,
)
from pipelines.judging.references import load_extractors, write_reference
from pipelines.runtime.identity import REPOSITORY
from pipelines.runtime.settings import Interpolation, LatentEvaluate, Params, load_params
from pipelines.stages import evaluate
from pipelines.tables.entrants import PICTURES
from tests.pipelines.site import write_data, write_json

COUNT, LATENT = 200, 3
SETTINGS: dict[str, Any] = {
    "kind": "latent-images",
    "data": "digits",
    "extractors": ["classifier"],
    "inception_weights": None,
    "precision_recall": {"clusters": 5, "runs": 2},
    "latent_count": 150,
    "neighbours": {"samples": 4, "nearest": 5},
    "interpolations": {"lines": 2, "points": 6},
}
PRIORS: dict[str, dict[str, Any]] = {
    "normal": {"kind": "normal"},
    "flow": {"kind": "flow", "hidden": 4, "blocks": 2},
    "mixture": {"kind": "mixture", "components": 2},
    "vae": {"kind": "vae", "hidden": [4]},
    "none": {"kind": "none"},
}


def digits() -> np.ndarray:
    """Handwritten digits, uint8, N×1×8×8."""
    return (load_digits().images[:COUNT, None] / 16 * 255).astype(np.uint8)


def describe(posterior: str, prior: str) -> dict[str, Any]:
    """What rebuilds a model."""
    return {
        "kind": "latent",
        "shape": (1, 8, 8),
        "latent": LATENT,
        "network": {"kind": "infogan", "width": 2, "hidden": 8},
        "posterior": {"kind": posterior},
        "prior": PRIORS[prior],
    }


def latent_model(posterior: str, prior: str) -> LatentModel:
    """A model with fresh weights."""
    model = seeded(describe(posterior, prior), 0).eval()
    assert isinstance(model, LatentModel)
    return model


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a data set, its judges and draws that are its own images; it is the cwd."""
    monkeypatch.chdir(tmp_path)
    images = digits()
    write_data(tmp_path, "digits", images)
    folder = tmp_path / "models/features/digits"
    folder.mkdir(parents=True)
    description = {"kind": "classifier", "shape": [1, 8, 8], "classes": 10, "width": 4}
    classifier = seeded(description, 0).eval()
    export_model(folder, description, classifier.state_dict(), {})
    settings = LatentEvaluate.model_validate(SETTINGS)
    (extractor,) = load_extractors(settings, classifier, torch.device("cpu")).values()
    for split in ("train", "test"):
        found = extract_features(torch.from_numpy(images), extractor, COUNT)
        write_reference(folder, "classifier", split, found)
    for name in ("samples", "plots", "numbers"):
        (tmp_path / name).mkdir()
    for draw in range(2):
        np.save(tmp_path / f"samples/draw-{draw}.npy", np.roll(images, draw, axis=0))
    return tmp_path


def judge(site: Path, model: torch.nn.Module) -> dict[str, Any]:
    settings = LatentEvaluate.model_validate(SETTINGS)
    return judge_latent(model, settings, site / "samples", site / "plots", site / "numbers")


def pixels(path: Path) -> np.ndarray:
    """A grey picture, H×W."""
    with Image.open(path) as picture:
        return np.asarray(picture)[..., 0]


def test_draws_that_are_the_data_are_perfect(site: Path) -> None:
    figures = judge(site, latent_model("gaussian", "normal"))
    assert figures["frechet_classifier"] == pytest.approx(0.0, abs=1e-4)
    assert figures["frechet_classifier_floor"] == pytest.approx(0.0, abs=1e-4)
    assert figures["frechet_classifier_std"] == pytest.approx(0.0, abs=1e-4)
    for key in ("f8_classifier", "f1_8_classifier"):
        # Clusters depend on the order of the rows, in which the second draw differs.
        assert figures[key] == pytest.approx(1.0, abs=1e-6)
        assert figures[f"{key}_ceiling"] == pytest.approx(1.0, abs=1e-6)
        assert figures[f"{key}_std"] == pytest.approx(0.0, abs=1e-6)
    assert figures["neighbour_distance"] == 0.0
    assert (figures["draws"], figures["latent_count"]) == (2, 150)


def test_pictures_show_what_they_should(site: Path) -> None:
    judge(site, latent_model("point", "flow"))
    cells = {"samples": (10, 10), "reconstructions": (6, 10), "interpolations": (2, 6)}
    for name, (rows, columns) in cells.items():
        assert pixels(site / f"plots/{name}.png").shape == (9 * rows + 1, 9 * columns + 1)
    picture = pixels(site / "plots/neighbours.png")
    for row, image in enumerate(digits()[:4, 0]):
        top = 1 + 9 * row
        np.testing.assert_array_equal(picture[top : top + 8, 1:9], image)
        np.testing.assert_array_equal(picture[top : top + 8, 16:24], image)
    kept = np.load(site / "numbers/latents.npz")
    assert kept["z"].shape == (150, LATENT) and kept["nll"].shape == (150,)
    assert kept["neighbours"][:, 0].tolist() == [0, 1, 2, 3]


def test_a_model_of_another_kind_is_refused(site: Path) -> None:
    with pytest.raises(UserError, match="use kind images"):
        judge(site, torch.nn.Linear(1, 1))


def test_figures_in_closed_form() -> None:
    z = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    variance = torch.tensor([[1e-4, 1e-2], [1e-4, 1e-2]])
    figures = latent_figures(Latents(z, variance.log(), torch.tensor([1.0, 3.0]), torch.ones(2)))
    assert figures["latent_scale"] == pytest.approx(math.sqrt(0.5))
    assert figures["latent_nll"] == 2.0
    assert figures["latent_bits_per_dim"] == pytest.approx(1.0 / math.log(2))
    assert figures["posterior_entropy_figure"] == pytest.approx(1.5 * math.log(10))
    assert figures["posterior_variance"] == pytest.approx(0.00505)
    normal = 1 + math.log(2 * math.pi)
    assert figures["posterior_entropy"] == pytest.approx(normal - 3 * math.log(10))


@pytest.mark.parametrize(
    ("posterior", "prior", "density", "spread"),
    [
        ("gaussian", "normal", True, True),
        ("point", "mixture", True, False),
        ("point", "vae", False, False),
        ("point", "none", False, False),
    ],
)
def test_figures_that_a_model_has(posterior: str, prior: str, density: bool, spread: bool) -> None:
    images = torch.from_numpy(digits()[:30])
    model = latent_model(posterior, prior)
    latents = encoded(model, images, torch.Generator().manual_seed(0))
    figures = latent_figures(latents)
    assert ("latent_nll" in figures) == density
    assert ("posterior_variance" in figures) == spread
    x = as_model_input(images, torch.device("cpu"))
    with torch.no_grad():
        expected = (x - model.reconstruct(x)).square().mean().item()
    assert figures["reconstruction_mse"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("prior", ["normal", "flow", "mixture", "vae"])
def test_lines_begin_and_end_at_draws(prior: str) -> None:
    model = latent_model("point", prior)
    settings = Interpolation(lines=2, points=4)
    images = interpolated(model, settings, torch.Generator().manual_seed(3))
    assert images.shape == (2, 4, 1, 8, 8) and images.dtype == torch.uint8
    # Drawn by the same noise, in this order: the starts, then the ends.
    if prior in ("normal", "flow"):
        drawn = model.sample(4, torch.Generator().manual_seed(3)).mul(255).round()
        ends = torch.cat([images[:, 0], images[:, -1]]).float()
        torch.testing.assert_close(ends, drawn, atol=1.0, rtol=0.0)
    assert not torch.equal(images[0], images[1])


def test_without_a_prior_there_is_nothing_to_interpolate() -> None:
    with pytest.raises(UserError, match="no prior"):
        interpolated(
            latent_model("point", "none"), Interpolation(lines=1, points=2), torch.Generator()
        )


def test_the_stage_judges_an_exported_model(site: Path) -> None:
    model = latent_model("point", "flow")
    (site / "models/glf").mkdir()
    export_model(site / "models/glf", describe("point", "flow"), model.state_dict(), {})
    (site / "samples").rename(site / "drawn")
    (site / "samples").mkdir()
    (site / "drawn").rename(site / "samples/glf")
    write_json(site / "samples/glf/sampling.json", {"nfe": 1, "seconds_per_1000": 0.5})
    runtime = load_params(REPOSITORY / "params.yaml").runtime.model_dump(mode="json")
    params = Params.model_validate({"runtime": runtime, "evaluate": {"glf": SETTINGS}})
    evaluate.main("glf", params)
    figures = json.loads((site / "metrics/evaluate/glf.json").read_text())
    assert figures["frechet_classifier"] == pytest.approx(0.0, abs=1e-4)
    assert (figures["nfe"], figures["seconds_per_1000_images"]) == (1, 0.5)
    assert {path.stem for path in (site / "plots/evaluate/glf").iterdir()} == set(PICTURES)
