"""Models from descriptions, and exported models back from their files."""

from __future__ import annotations

import copy
import json

import pytest
import torch

from components.errors import UserError
from components.models.build import build_model, seeded
from components.models.export import MODEL, WEIGHTS, export_model, load_model, weights_digest
from components.models.gradient_flow import GradientFlow
from components.models.short_run import ShortRunEBM, Start
from components.models.vaebm import VAEBM
from components.samplers.langevin import LangevinSettings

POINTS = {
    "kind": "vae",
    "shape": [2],
    "latent": 3,
    "likelihood": "gaussian",
    "network": {"kind": "mlp", "hidden": [8, 6], "input_scale": 4.0},
}
IMAGES = {
    "kind": "vae",
    "shape": [1, 8, 8],
    "latent": 3,
    "likelihood": "bernoulli",
    "network": {"kind": "dcgan", "width": 4, "depth": 2, "batch_norm": True},
}
FOURIER = {"kind": "fully-connected", "hidden": [8], "input_scale": 4.0, "fourier": [1.0, 9.0]}
STRIDED = {"kind": "strided", "filters": [4, 8], "normalisation": "weight"}
DESCRIPTIONS = {
    "vae of points": POINTS,
    "vae of images": IMAGES,
    "vaebm of points": {"kind": "vaebm", "base": POINTS, "energy": FOURIER, "space": "data"},
    "vaebm of images": {"kind": "vaebm", "base": IMAGES, "energy": STRIDED, "space": "noise"},
    "short-run EBM of points": {
        "kind": "short-run-ebm",
        "shape": [2],
        "energy": FOURIER,
        "langevin": {"steps": 2, "step_size": 0.1},
        "start": {"law": "uniform", "scale": 4.0},
    },
    "short-run EBM of images": {
        "kind": "short-run-ebm",
        "shape": [1, 8, 8],
        "energy": {"kind": "conv", "width": 4, "multipliers": [1, 2]},
        "langevin": {"steps": 2, "step_size": 0.1, "noise_scale": 0.1},
        "start": {"law": "normal", "scale": 1.0},
    },
    "gradient flow": {
        "kind": "gradient-flow",
        "shape": [2],
        "energy": FOURIER,
        "flow": {"time": 0.2, "tolerance": 1e-5},
    },
    "classifier": {"kind": "classifier", "shape": [1, 8, 8], "classes": 4, "width": 4},
}


def run(model: torch.nn.Module) -> torch.Tensor:
    """Something that depends on all of the model's weights."""
    model = copy.deepcopy(model).eval()
    if isinstance(model, VAEBM):
        x = run(model.base)
        return model.energy(x) + x.flatten(1).sum(1)
    if isinstance(model, ShortRunEBM):
        x = model.sample(5, torch.Generator().manual_seed(2)).items
        return model.energy(x) + x.flatten(1).sum(1)
    generator = torch.Generator().manual_seed(2)
    if isinstance(model, GradientFlow):
        return model.log_prob(model.sample(5, generator)) + model.energy(torch.ones(5, 2)).detach()
    if not hasattr(model, "decode"):
        return model(torch.rand(5, 1, 8, 8, generator=generator))
    x = torch.rand(5, *model.shape, generator=generator)
    return model.decode(model.encode(x)[0]) + model.log_sigma


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "models"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("name", DESCRIPTIONS)
def test_an_exported_model_comes_back_to_the_byte(folder, tmp_path, name):
    description = DESCRIPTIONS[name]
    model = seeded(description, 1)
    export_model(folder, description, model.state_dict(), {"stage": "pretrain", "kept_step": 7})
    torch.manual_seed(99)
    loaded = load_model(folder)
    assert not any(module.training for module in loaded.modules())
    for key, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], value), key
    assert torch.equal(run(loaded), run(model))

    again = tmp_path / "again"
    again.mkdir()
    export_model(again, description, loaded.state_dict(), {"stage": "pretrain", "kept_step": 7})
    for file in (WEIGHTS, MODEL):
        assert (again / file).read_bytes() == (folder / file).read_bytes()
    assert weights_digest(again) == weights_digest(folder)
    assert json.loads((folder / MODEL).read_text())["kept_step"] == 7


def test_networks_see_points_in_units_of_the_input_scale():
    """A model of points four times as large is the same model on a scale of four."""
    large = seeded(POINTS, 0).eval()
    small = seeded({**POINTS, "network": {**POINTS["network"], "input_scale": 1.0}}, 0).eval()
    x = torch.randn(5, 2, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(large.encode(4.0 * x), small.encode(x))
    z = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(large.decode(z), 4.0 * small.decode(z))


@pytest.mark.parametrize("name", DESCRIPTIONS)
def test_fresh_weights_are_a_function_of_the_seed(name):
    description = DESCRIPTIONS[name]
    before = torch.random.get_rng_state()
    first = seeded(description, 3)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.rand(7)
    assert torch.equal(run(first), run(seeded(description, 3)))
    assert not torch.equal(run(first), run(seeded(description, 4)))


def test_composition_is_of_its_description():
    model = build_model(DESCRIPTIONS["vaebm of points"])
    assert isinstance(model, VAEBM)
    assert model.space == "data" and model.base.latent == 3 and model.base.shape == (2,)
    assert not any(p.requires_grad for p in model.base.parameters())


def test_a_short_run_ebm_brings_its_sampler():
    points = build_model(DESCRIPTIONS["short-run EBM of points"])
    assert points.langevin == LangevinSettings(2, 0.1) and points.start == Start("uniform", 4.0)
    assert points.shape == (2,) and points.energy.input_scale == 4.0
    assert build_model(DESCRIPTIONS["short-run EBM of images"]).langevin.noise_scale == 0.1


def test_descriptions_are_left_as_they_are():
    for description in DESCRIPTIONS.values():
        before = copy.deepcopy(description)
        build_model(description)
        assert description == before


def refused(action) -> str:
    """The one line that a user is told."""
    with pytest.raises(UserError) as caught:
        action()
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_unknown_kinds_are_refused_by_name():
    assert "'glow'; known: vae, vaebm, short-run-ebm, classifier" in refused(
        lambda: build_model({"kind": "glow"})
    )
    on_itself = {**DESCRIPTIONS["vaebm of points"], "base": DESCRIPTIONS["vaebm of points"]}
    assert "base of kind vae, not 'vaebm'" in refused(lambda: build_model(on_itself))
    short = {**DESCRIPTIONS["short-run EBM of points"], "langevin": {"stride": 1}}
    assert "sampler of a short-run EBM" in refused(lambda: build_model(short))
    network = {**IMAGES["network"], "colour": "red"}
    assert "colour" in refused(lambda: build_model({**IMAGES, "network": network}))


def test_missing_models_are_named(folder):
    assert str(folder) in refused(lambda: load_model(folder))
    export_model(folder, POINTS, build_model(POINTS).state_dict(), {})
    (folder / WEIGHTS).unlink()
    assert f"no {WEIGHTS} in {folder}" in refused(lambda: load_model(folder))


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
@pytest.mark.parametrize("file", [WEIGHTS, MODEL])
def test_files_cut_short_are_refused(folder, file, share):
    export_model(folder, POINTS, build_model(POINTS).state_dict(), {})
    whole = (folder / file).read_bytes()
    # The JSON's last byte is its newline, without which it is still whole.
    (folder / file).write_bytes(whole.rstrip()[: int(share * (len(whole) - 2))])
    assert str(folder / file) in refused(lambda: load_model(folder))


def test_weights_of_other_settings_are_refused(folder):
    export_model(folder, POINTS, build_model({**POINTS, "latent": 4}).state_dict(), {})
    assert "other settings" in refused(lambda: load_model(folder))
    export_model(folder, POINTS, build_model(IMAGES).state_dict(), {})
    assert "other settings" in refused(lambda: load_model(folder))


@pytest.mark.parametrize(
    "content",
    [
        b"[1, 2]",
        b'{"stage": "pretrain"}',
        b'{"model": "vae"}',
        b"\xff\xfe\x00garbage",
        b'{"model": {"kind": "vae"}}',
    ],
)
def test_json_of_no_model_is_refused(folder, content):
    export_model(folder, POINTS, build_model(POINTS).state_dict(), {})
    (folder / MODEL).write_bytes(content)
    assert str(folder / MODEL) in refused(lambda: load_model(folder))
