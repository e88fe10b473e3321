"""Chains that run on, of a VAEBM and of energies whose law is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from components.errors import UserError
from components.models.build import seeded
from components.models.export import export_model, load_model
from components.models.vae import VAE
from components.models.vaebm import VAEBM
from components.samplers.langevin import LangevinSettings
from pipelines.judging.chains import Chains, judge_chains, vaebm_chains
from pipelines.judging.images import judge_images
from pipelines.runtime.settings import ChainDiagnosis, ImageEvaluate, ImageFeatures
from tests.pipelines.runtime.test_short_run_settings import LANGEVIN

CPU = torch.device("cpu")
DIAGNOSIS = ChainDiagnosis(chains=8, multiples=[2, 20], every=1, projections=2, directions=50)
BASE = {
    "kind": "vae",
    "shape": [1, 8, 8],
    "latent": 3,
    "likelihood": "bernoulli",
    "network": {"kind": "dcgan", "width": 4, "depth": 1, "batch_norm": False},
}
VAEBM_DESCRIPTION = {
    "kind": "vaebm",
    "base": BASE,
    "energy": {"kind": "conv", "width": 4, "multipliers": [1, 2], "normalisation": "none"},
    "space": "noise",
}


def gaussian(settings: LangevinSettings, offset: float = 0.0) -> Chains[Tensor]:
    """Chains of N(0, I) over 1×4×4 images, started from it, or from a far point."""

    def start(count: int, generator: torch.Generator) -> Tensor:
        return torch.randn(count, 1, 4, 4, generator=generator) + offset

    def potential(state: Tensor) -> Tensor:
        return 0.5 * state.square().flatten(1).sum(dim=1)

    return Chains(potential, start, lambda state: 0.5 + 0.1 * state, settings, ())


def judged(chains: Chains[Any], folder: Path) -> dict[str, Any]:
    return judge_chains(chains, DIAGNOSIS, folder, folder, CPU)


def test_chains_at_their_law_mix_and_do_not_drift(tmp_path: Path) -> None:
    found = judged(gaussian(LangevinSettings(steps=20, step_size=0.5)), tmp_path)
    assert found["chain_r_hat"] < 1.1 and found["chain_r_hat_max"] < 1.1
    assert found["chain_ess_share"] > 0.05 and found["chain_acceptance"] > 0.8
    assert found["chain_drift_20x"] < 2.0 * found["chain_drift_floor"]
    assert found["chain_energy_start"] == pytest.approx(8.0, abs=3.0)
    assert np.load(tmp_path / "chains.npz")["energies"].shape == (401, 8)
    assert {file.name for file in tmp_path.glob("*.png")} == {"mixing.png", "drift.png"}


def test_short_chains_that_have_not_arrived_drift(tmp_path: Path) -> None:
    far = judged(gaussian(LangevinSettings(steps=20, step_size=0.01), offset=3.0), tmp_path)
    assert far["chain_drift_20x"] > 3.0 * far["chain_drift_floor"]
    assert far["chain_drift_20x"] > far["chain_drift_2x"]
    assert far["chain_displacement_20x"] > far["chain_displacement_2x"]
    assert far["chain_energy_end"] < 0.5 * far["chain_energy_trained"]


def test_a_descent_has_no_law_and_stands_still_at_last(tmp_path: Path) -> None:
    still = LangevinSettings(steps=20, step_size=2.0, noise_scale=0.0)
    found = judged(gaussian(still), tmp_path)
    # x - (2/2) x = 0 at once, where nothing has any variance.
    assert found["chain_energy_end"] == 0.0 and found["chain_drift_20x"] == 0.0
    assert not {"chain_acceptance", "chain_r_hat", "chain_ess_share"} & found.keys()


@pytest.mark.parametrize("space", ["noise", "data"])
def test_a_vaebm_has_chains(tmp_path: Path, space: str) -> None:
    description = VAEBM_DESCRIPTION | {"space": space}
    if space == "data":
        description["base"] = BASE | {"likelihood": "gaussian"}
    weights = seeded(description, 0).state_dict()
    chain = LANGEVIN | {"noise_scale": 1.0, "step_size": 1e-3}
    export_model(tmp_path, description, weights, {"settings": {"langevin": chain}})
    model = load_model(tmp_path)
    assert isinstance(model, VAEBM)
    chains = vaebm_chains(model, tmp_path)
    assert chains.settings.steps == LANGEVIN["steps"]
    found = judged(chains, tmp_path)
    assert found["chain_acceptance"] > 0.5 and found["chain_drift_20x"] >= 0.0


def test_a_base_has_none(tmp_path: Path) -> None:
    model = seeded(BASE, 0)
    assert isinstance(model, VAE)
    near = {"near": "a", "far": "b"}
    settings = ImageEvaluate.model_validate(
        {"kind": "images", "data": "digits", "outsiders": near, "ood_count": 1, "bound_samples": 1}
        | {"diagnosis": DIAGNOSIS.model_dump()}
    )
    features = ImageFeatures.model_validate(
        {"kind": "images", "count": 1, "extractors": ["imagenet"], "inception_weights": None}
        | {"classifier": None}
    )
    with pytest.raises(UserError, match=r"vae has no chains: set evaluate\.vae\.diagnosis to null"):
        judge_images(model, settings, features, tmp_path / "vae", tmp_path, tmp_path)
