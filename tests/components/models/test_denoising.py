"""Denoising GANs, diffusion models and plain GANs, with networks whose results are known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from components.errors import UserError
from components.models.build import seeded as seeded_model
from components.models.build_diffusion import build_discriminator
from components.models.ddpm import DDPM, DDPMSampler
from components.models.denoising_gan import DenoisingGAN
from components.models.export import export_model, load_model
from components.models.plain_gan import PlainGAN
from components.samplers.diffusion import DiffusionProcess, DiffusionSettings

CENTRE = 0.4
POINTS: dict[str, Any] = {
    "kind": "denoising-gan",
    "shape": [2],
    "network": {"kind": "points", "hidden": [8]},
    "diffusion": {"steps": 4},
    "predicts": "clean",
    "latent": 3,
    "scale": 2.0,
}
UNET = {"kind": "unet", "width": 4, "multipliers": [1, 2], "blocks": 1, "embedding": 8}
IMAGES = {**POINTS, "shape": [1, 8, 8], "network": UNET, "scale": 1.0}
DIFFUSION = {
    "kind": "ddpm",
    "shape": [1, 8, 8],
    "network": UNET,
    "diffusion": {"steps": 6},
    "sampler": {"kind": "ddim", "steps": 2},
    "scale": 1.0,
}
PLAIN = {"kind": "gan", "shape": [2], "network": POINTS["network"], "latent": 3, "scale": 2.0}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def process(steps: int = 4) -> DiffusionProcess:
    return DiffusionProcess(DiffusionSettings(steps))


class Clean(nn.Module):
    """Always the same x_0."""

    def forward(self, after: Tensor, t: Tensor, z: Tensor | None = None) -> Tensor:
        return torch.full_like(after, CENTRE)


class Noise(nn.Module):
    """The noise by which x_{t+1} differs from such an x_0."""

    def __init__(self, process: DiffusionProcess) -> None:
        super().__init__()
        self.process = process

    def forward(self, after: Tensor, t: Tensor, z: Tensor | None = None) -> Tensor:
        index = (t.round().long() + 1).view(-1, 1)
        return (after - self.process.signal[index] * CENTRE) / self.process.noise[index]


class Latent(nn.Module):
    """z itself, whatever else there is."""

    def forward(self, after: Tensor, t: Tensor, z: Tensor | None = None) -> Tensor:
        assert z is not None
        return z


@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize("predicts", ["clean", "noise"])
def test_what_knows_the_data_arrives_there(steps: int, predicts: Any) -> None:
    network = Clean() if predicts == "clean" else Noise(process(steps))
    model = DenoisingGAN(network, (2,), process(steps), predicts, scale=2.0)
    drawn = model.sample(5, seeded(), keep=[steps])
    torch.testing.assert_close(drawn.items, torch.full((5, 2), 2.0 * CENTRE), rtol=0.0, atol=2e-3)
    assert drawn.nfe == steps
    torch.testing.assert_close(drawn.along[0], torch.randn(5, 2, generator=seeded()))


def test_a_step_has_the_posteriors_law() -> None:
    model, count = DenoisingGAN(Clean(), (1,), process()), 100_000
    after, t = torch.full((count, 1), -0.7), torch.full((count,), 2)
    drawn = model.step(after, t, seeded())
    clean = torch.full((1, 1), CENTRE)
    mean = model.process.posterior(clean, after[:1], t[:1], torch.zeros(1, 1)).item()
    assert drawn.mean().item() == pytest.approx(mean, abs=5e-3)
    assert drawn.std().item() == pytest.approx(model.process.spread[2].item(), rel=0.01)


def test_direct_denoising_takes_the_networks_word() -> None:
    model = DenoisingGAN(Latent(), (2,), process(), "previous", latent=2)
    after, t = torch.zeros(4, 2), torch.full((4,), 2)
    word = torch.randn(4, 2, generator=seeded())
    torch.testing.assert_close(model.step(after, t, seeded()), word)
    with pytest.raises(UserError, match="no x_0 before its last step"):
        model.guesses(after, 2, 1, seeded())
    with pytest.raises(UserError, match="predicts clean, previous or noise, not data"):
        DenoisingGAN(Latent(), (2,), process(), "data")  # type: ignore[arg-type]


def test_guesses_differ_by_the_latent_variable_alone() -> None:
    model = DenoisingGAN(Latent(), (2,), process(), latent=2, scale=3.0)
    guesses = model.guesses(torch.zeros(4, 2), 1, 5, seeded())
    assert guesses.shape == (5, 4, 2)
    torch.testing.assert_close(guesses.flatten(0, 1), 3.0 * torch.randn(20, 2, generator=seeded()))


def test_strokes_go_on_from_where_they_were_noised() -> None:
    """From x_1 one evaluation is left, from x_0 none: then they are what they were."""
    model = DenoisingGAN(Clean(), (1, 2, 2), process())
    state = torch.full((3, 1, 2, 2), -1.0)
    assert model.denoised_from(state, 1, seeded()).nfe == 1
    assert torch.equal(model.denoised_from(state, 0, seeded()).items, torch.zeros(3, 1, 2, 2))


@pytest.mark.parametrize(
    ("sampler", "nfe"),
    [(DDPMSampler(), 50), (DDPMSampler("ddim", 4), 4), (DDPMSampler("ddim", 50, eta=1.0), 50)],
)
def test_a_diffusion_model_is_sampled_in_many_ways(sampler: DDPMSampler, nfe: int) -> None:
    model = DDPM(Noise(process(50)), (2,), process(50), sampler)
    for drawn in (model.sample(5, seeded()), model.sample(5, seeded(), sampler=sampler)):
        torch.testing.assert_close(drawn.items, torch.full((5, 2), CENTRE), rtol=0.0, atol=2e-3)
        assert drawn.nfe == nfe


def test_samplers_that_cannot_be() -> None:
    with pytest.raises(UserError, match="ancestral, ddim or ode, not euler"):
        DDPMSampler("euler")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="1 step or more"):
        DDPMSampler("ddim", 0)


def test_a_plain_gan_maps_z() -> None:
    drawn = PlainGAN(Latent(), (2,), 2, scale=3.0).sample(4, seeded())
    torch.testing.assert_close(drawn.items, 3.0 * torch.randn(4, 2, generator=seeded()))
    assert drawn.nfe == 1


@pytest.mark.parametrize("description", [POINTS, IMAGES, DIFFUSION, PLAIN], ids=str)
def test_an_exported_model_draws_the_same(description: dict[str, Any], tmp_path: Path) -> None:
    model: Any = seeded_model(description, 1)
    export_model(tmp_path, description, model.state_dict(), {})
    loaded: Any = load_model(tmp_path)
    found = loaded.sample(3, seeded())
    assert torch.equal(found.items, model.sample(3, seeded()).items)
    assert found.items.shape == (3, *description["shape"])


def test_discriminators_of_points_and_images() -> None:
    points = build_discriminator({"kind": "points", "hidden": [8]}, (2,), 4)
    x, t = torch.zeros(3, 2), torch.zeros(3)
    assert points(x, t, x).shape == (3,)
    settings = {"kind": "residual", "width": 4, "multipliers": [2], "down": [True]}
    images, x = build_discriminator(settings, (1, 8, 8), 4), torch.zeros(3, 1, 8, 8)
    assert images(x, t, x).shape == (3,)
    wrong: list[dict[str, Any]] = [{**POINTS, "shape": [1, 8, 8]}, {**IMAGES, "shape": [2]}]
    for case in (*wrong, {**PLAIN, "network": UNET}):
        with pytest.raises(UserError, match=r"points|makes items of shape \(2,\)"):
            seeded_model(case, 0)
