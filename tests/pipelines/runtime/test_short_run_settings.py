"""Settings of short-run EBMs: parts that do not go together are one line."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from pipelines.runtime.settings import ShortRunPretrain
from pipelines.runtime.settings.base import one_line
from tests.pipelines.small_project import small_settings

LANGEVIN = {
    "steps": 3,
    "step_size": 0.1,
    "noise_scale": 0.0,
    "temperature": 1.0,
    "metropolis": False,
    "step_size_max": None,
    "drift_limit": None,
    "precision": "float32",
}
ENERGY = {"kind": "conv", "width": 4, "multipliers": [1, 2], "normalisation": "none"}


def noise_free() -> dict[str, Any]:
    vae = small_settings()["pretrain"]["vae-digits"]
    return {key: vae[key] for key in ("data", "seed", "optimiser", "plan")} | {
        "kind": "short-run-ebm",
        "energy": ENERGY,
        "langevin": LANGEVIN,
        "start": {"law": "normal", "scale": 1.0},
        "generator_weight": 0.0,
        "checkpoint": False,
        "energy_magnitude": 0.0,
        "max_gap": 1e4,
        "replay": None,
        "select": {"kind": "last"},
    }


SPECTRAL = ENERGY | {"normalisation": "spectral"}
MALA = LANGEVIN | {"metropolis": True, "noise_scale": 1.0}


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"checkpoint": True}, "checkpoint false: without a generator_weight no step is kept"),
        ({"generator_weight": 1.0, "langevin": MALA}, "metropolis false with a generator_weight"),
        (
            {"generator_weight": 1.0, "checkpoint": True, "energy": SPECTRAL},
            "checkpoint false, or normalisation none or weight",
        ),
        ({"generator_weight": -1.0}, "generator_weight: -1.0 is not allowed; it should be greater"),
        ({"max_gap": 0.0}, "max_gap: 0.0 is not allowed; it should be greater than 0"),
        ({"start": {"law": "cauchy", "scale": 1.0}}, "start.law: 'cauchy' is not allowed"),
        ({"start": {"law": "normal"}}, "start.scale: missing: give it a value"),
        ({"langevin": LANGEVIN | {"stepsize": 1}}, "langevin.stepsize: unknown setting; did you"),
        ({"energy": {"kind": "mlp"}}, "kind 'mlp' is unknown; allowed: 'fully-connected', 'conv'"),
    ],
)
def test_what_is_wrong_is_one_line(changes: dict[str, Any], line: str) -> None:
    content = noise_free() | changes
    with pytest.raises(ValidationError) as error:
        ShortRunPretrain.model_validate(content)
    said = one_line(error.value, "params.yaml", content)
    assert line in said and "\n" not in said


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"langevin": MALA},
        {"generator_weight": 1.0, "checkpoint": True},
        {"generator_weight": 1.0, "energy": SPECTRAL},
        {"replay": {"size": 100, "probability": 0.9, "anneal_steps": 0}},
    ],
)
def test_what_goes_together(changes: dict[str, Any]) -> None:
    settings = ShortRunPretrain.model_validate(noise_free() | changes)
    assert settings.model_dump(include=set(changes), mode="json").keys() == changes.keys()
