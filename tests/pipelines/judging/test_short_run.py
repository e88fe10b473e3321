"""Judging of short-run EBMs: interpolations, energies, reconstructions, models of other kinds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from components.errors import UserError
from components.images import quantise
from components.models.build import seeded
from components.models.short_run import ShortRunEBM
from pipelines.judging.short_run import energies_of, interpolated, judge_short_run, reconstructed
from pipelines.runtime.settings import Interpolation, Reconstruction, ShortRunEvaluate
from tests.pipelines.judging.test_chains import BASE

DESCRIPTION = {
    "kind": "short-run-ebm",
    "shape": [1, 8, 8],
    "energy": {"kind": "conv", "width": 4, "multipliers": [1, 2], "normalisation": "none"},
    "langevin": {"steps": 3, "step_size": 0.5, "noise_scale": 0.0},
    "start": {"law": "normal", "scale": 1.0},
}
SETTINGS: dict[str, Any] = {
    "kind": "short-run-images",
    "data": "digits",
    "extractors": ["classifier"],
    "inception_weights": None,
    "precision_recall": {"clusters": 5, "runs": 2},
    "energy_count": 100,
    "reconstructions": {"count": 4, "steps": 5, "rate": 0.1, "checkpoint": False},
    "neighbours": {"samples": 2, "nearest": 2},
    "interpolations": {"lines": 2, "points": 3},
    "diagnosis": None,
}


def model_of(**changes: Any) -> ShortRunEBM:
    model = seeded({**DESCRIPTION, **changes}, 0).eval()
    assert isinstance(model, ShortRunEBM)
    return model


def test_lines_run_on_the_arc_from_one_start_to_the_other() -> None:
    model = model_of()
    lines = interpolated(model, Interpolation(lines=4, points=3), torch.Generator().manual_seed(0))
    assert lines.shape == (4, 3, 1, 8, 8) and lines.dtype == torch.uint8
    generator = torch.Generator().manual_seed(0)
    first, second = (model.noise(4, generator) for _ in range(2))
    middle = 0.5**0.5 * (first + second)
    for column, start in enumerate((first, middle, second)):
        expected = quantise(model.generate(start, generator).items)
        # Rounding may fall on either side of a level.
        assert (lines[:, column].int() - expected.int()).abs().max() <= 1


def test_energies_are_those_of_the_images() -> None:
    model = model_of()
    images = torch.randint(0, 256, (7, 1, 8, 8), generator=torch.Generator().manual_seed(0))
    images = images.to(torch.uint8)
    found = energies_of(model, images)
    torch.testing.assert_close(found, model.energy(images / 255.0).detach())
    assert found.std() > 0.0


def test_a_longer_search_comes_nearer() -> None:
    model = model_of()
    images = quantise(model.sample(3, torch.Generator().manual_seed(5)).items)
    errors = [
        reconstructed(
            model, images, Reconstruction(count=3, steps=steps, rate=0.1, checkpoint=again)
        )
        .error.mean()
        .item()
        for steps, again in ((1, False), (60, False), (60, True))
    ]
    assert errors[1] < 0.2 * errors[0]
    assert errors[2] == pytest.approx(errors[1], rel=0.05)


def test_models_that_cannot_be_judged_so(tmp_path: Path) -> None:
    settings = ShortRunEvaluate.model_validate(SETTINGS)
    with pytest.raises(UserError, match="short-run-images judges short-run EBMs"):
        judge_short_run(seeded(BASE, 0), settings, tmp_path, tmp_path, tmp_path)
    uniform = model_of(start={"law": "uniform", "scale": 1.0})
    with pytest.raises(UserError, match="starts are interpolated if they are normal"):
        interpolated(uniform, settings.interpolations, torch.Generator())
