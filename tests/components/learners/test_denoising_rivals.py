"""Learning diffusion models and plain GANs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from components.datasets.loading import Batch
from components.errors import UserError
from components.learners.plain_gan import PlainSettings
from components.samplers.diffusion import DiffusionProcess
from tests.components.learners.denoising import diffusion, plain, points


class Best(nn.Module):
    """E[ε | x_{t+1}] of standard normal data is √(1 - ᾱ) x."""

    def __init__(self, process: DiffusionProcess) -> None:
        super().__init__()
        self.noise, self.idle = process.noise, nn.Parameter(torch.zeros(()))

    def forward(self, after: Tensor, t: Tensor) -> Tensor:
        return self.noise[t + 1].unsqueeze(1) * after + 0.0 * self.idle


def test_the_loss_of_the_best_network_is_what_cannot_be_known() -> None:
    """E‖ε - ε̂‖² = ᾱ at each t, for data that are standard normal."""
    taught = diffusion(rate=0.0)
    taught.model.network = Best(taught.model.process)
    loss = taught.training_step(points(200_000), 0)["loss"]
    expected = taught.model.process.signal[1:].square().mean().item()
    assert loss.item() == pytest.approx(expected, rel=0.02)


def test_a_diffusion_model_learns() -> None:
    """It comes near to what cannot be known, from far above."""
    taught = diffusion(rate=1e-2)
    losses = [taught.training_step(points(256, seed), seed)["loss"].item() for seed in range(100)]
    floor = taught.model.process.signal[1:].square().mean().item()
    assert losses[0] > 3.0 * floor and sum(losses[-10:]) / 10 < 1.3 * floor


@pytest.mark.parametrize("make", [diffusion, plain, "wasserstein"])
def test_a_stopped_training_goes_on_as_if_it_had_not(assert_resumable: Any, make: Any) -> None:
    if make == "wasserstein":

        def make(seed: int) -> Any:
            return plain(seed, "wasserstein", penalty=10.0, critic_steps=2)

    batches = [points(8, seed) for seed in range(4)]
    assert_resumable(make, batches, 2, prepare=False)


class Plane(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.tensor([3.0, 0.0]))

    def forward(self, x: Tensor, t: Tensor, after: Tensor | None = None) -> Tensor:
        return x @ self.a


def test_the_critic_of_a_plane_pays_for_its_slope() -> None:
    """(‖a‖ - 1)² = 4, and Wasserstein's loss is a·(E made - E true)."""
    taught = plain(objective="wasserstein", penalty=10.0)
    taught.discriminator = taught.judging.network = Plane()
    taught.judging.parameters = [taught.discriminator.a]
    taught.judging.schedule = type(taught.judging.schedule)(0.0, 0, "constant", 10)
    far = Batch(torch.full((4096, 2), 7.0), None)
    metrics = taught.training_step(far, 0)
    assert metrics["penalty"].item() == pytest.approx(4.0, rel=1e-4)
    made = taught.model.generate(4096, torch.Generator().manual_seed(8))
    expected = 3.0 * (made[:, 0].mean().item() - 7.0)
    assert metrics["loss_discriminator"].item() == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize(
    ("objective", "settings"),
    [("non-saturating", {}), ("wasserstein", {"penalty": 1.0, "critic_steps": 4})],
)
def test_a_plain_gan_finds_where_data_are(objective: str, settings: dict[str, Any]) -> None:
    taught = plain(objective=objective, **settings)
    for updater in (taught.generating, taught.judging):
        updater.schedule = type(updater.schedule)(5e-3, 0, "constant", 500)
    for step in range(300):
        taught.training_step(Batch(0.2 * points(64, step).x + 2.0, None), step)
    items = taught.exported().sample(2000, torch.Generator().manual_seed(0)).items  # type: ignore[operator]
    torch.testing.assert_close(items.mean(0), torch.full((2,), 2.0), rtol=0.0, atol=0.4)


def test_settings_that_cannot_be() -> None:
    with pytest.raises(UserError, match="non-saturating or wasserstein, not hinge"):
        PlainSettings("hinge")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="critic_steps of 1 or more"):
        PlainSettings("wasserstein", 1.0, 0)
