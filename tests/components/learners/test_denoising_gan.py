"""Learning denoising diffusion GANs: the game's losses, R1, resumption, what is learned."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from components.datasets.loading import Batch
from components.errors import UserError
from components.learners.adversarial import between, fooled, lipschitz_penalty, told_apart
from components.learners.denoising_gan import AdversarialSettings
from components.learners.learner import Learner
from tests.components.learners.denoising import game, pictures, plain, points


class Plane(nn.Module):
    """D(x_t) = a·x_t, whose slope is a everywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.tensor([0.6, -0.8, 0.0])[:2])

    def forward(self, x: Tensor, t: Tensor, after: Tensor | None = None) -> Tensor:
        return x @ self.a


def test_losses_of_what_cannot_be_told() -> None:
    zero = torch.zeros(3)
    torch.testing.assert_close(told_apart(zero, zero), torch.full((3,), 2 * math.log(2)))
    torch.testing.assert_close(fooled(zero), torch.full((3,), math.log(2)))
    logits = torch.tensor([2.0])
    torch.testing.assert_close(told_apart(logits, -logits), 2 * -torch.sigmoid(logits).log())


def test_r1_is_half_gamma_times_the_squared_slope() -> None:
    """Eq. 6.16 of a plane: γ/2 · ‖a‖² = γ/2, and its gradient is γ a, r1_every times."""
    found = []
    for gamma in (0.0, 0.3):
        taught = game(rate=0.0, gamma=gamma, r1_every=4)
        taught.discriminator = taught.judging.network = Plane()
        taught.judging.parameters = [taught.discriminator.a]
        metrics = taught.training_step(points(), 0)
        found.append(taught.discriminator.a.grad.clone())
        assert metrics["r1"].item() == pytest.approx(0.5 * gamma * 1.0, rel=1e-5)
    torch.testing.assert_close(found[1] - found[0], 4 * 0.3 * torch.tensor([0.6, -0.8]))


def test_r1_is_lazy_and_what_it_was_is_shown_until_the_next() -> None:
    taught = game(r1_every=3)
    seen = [taught.training_step(points(), step)["r1"].item() for step in range(4)]
    assert seen[0] == seen[1] == seen[2] > 0.0 and seen[3] != seen[0]


def test_the_discriminators_loss_is_told_for_each_time() -> None:
    """The batch's mean is theirs, weighted by how often each t was drawn."""
    metrics = game(rate=0.0).training_step(points(4096), 0)
    means = torch.stack([metrics[f"loss_discriminator_t{t}"] for t in range(4)])
    assert means.mean().item() == pytest.approx(metrics["loss_discriminator"].item(), rel=0.02)
    assert "loss_discriminator_t0" not in game(steps=1).training_step(points(), 0)


def test_each_side_moves_its_own_weights_alone() -> None:
    for still in ("generator", "discriminator"):
        taught = game()
        frozen = taught.generating if still == "generator" else taught.judging
        frozen.schedule = type(frozen.schedule)(0.0, 0, "constant", 10)
        before = [p.clone() for p in (*taught.generating.parameters, *taught.judging.parameters)]
        taught.training_step(points(), 0)
        after = [*taught.generating.parameters, *taught.judging.parameters]
        own = len(taught.generating.parameters)
        moved = [not torch.equal(a, b) for a, b in zip(before, after, strict=True)]
        assert any(moved[:own]) == (still != "generator")
        assert any(moved[own:]) == (still != "discriminator")


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"r1_every": 3},
        {"images": True},
        {"steps": 1, "augmentation": 4},
        {"predicts": "previous"},
        {"predicts": "noise"},
        {"images": True, "precision": "bfloat16", "parts": 2},
        {"images": True, "together": True},
    ],
    ids=str,
)
def test_a_stopped_training_goes_on_as_if_it_had_not(
    assert_resumable: Any, settings: dict[str, Any]
) -> None:
    batch = pictures if settings.get("images") else points
    batches = [batch(8, seed) for seed in range(4)]
    assert_resumable(lambda seed: game(seed, **settings), batches, 2, prepare=False)


# PyTorch hides this warning of its compiler's own from all but those who make warnings errors.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.parametrize(
    "made", [game, partial(plain, objective="wasserstein")], ids=["r1", "penalty"]
)
def test_compiled_networks_are_penalised_the_same(made: Callable[..., Learner]) -> None:
    """Slopes are differentiated once more, which compiled code cannot be."""

    def learned(compiled: bool) -> Learner:
        taught = made(compile=compiled)
        taught.training_step(points(), 0)
        return taught

    from torch._dynamo.utils import counters  # takes seconds

    counters.clear()
    compiled, eager = learned(True), learned(False)
    assert counters["stats"]["unique_graphs"] > 0
    torch.testing.assert_close(
        dict(compiled.exported().state_dict()), dict(eager.exported().state_dict()),
        rtol=1e-3, atol=1e-5,
    )  # fmt: skip


def test_augmentation_noises_what_the_discriminator_sees() -> None:
    """A discriminator that knows x_t = 1 sees it no more, but for t = 0."""
    taught = game(steps=1, augmentation=4)
    shown, t = taught._shown(torch.ones(4000, 2), torch.zeros(4000, dtype=torch.long))
    assert t.min() == 0 and t.max() == 3
    torch.testing.assert_close(shown[t == 0], torch.ones(int((t == 0).sum()), 2))
    assert taught.noising is not None
    assert shown[t == 2].mean().item() == pytest.approx(taught.noising.signal[2].item(), abs=0.05)
    with pytest.raises(UserError, match="for a generator of 1 step"):
        game(steps=2, augmentation=4)


class Known(nn.Module):
    """Finds the x_0 that is the same for all, and does not tell pairs apart."""

    def __init__(self, clean: float) -> None:
        super().__init__()
        self.clean, self.times = clean, list[Tensor]()
        self.moved = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor, t: Tensor, z: Tensor | None = None) -> Tensor:
        self.times.append(t)
        return torch.full_like(x, self.clean) + self.moved


@pytest.mark.parametrize("together", [False, True])
def test_of_common_noise_a_pair_differs_by_its_data_alone(together: bool) -> None:
    """A generator that knows x_0 makes the true x_t itself, in groups of one t."""
    taught = game(rate=0.0, gamma=0.0, together=together)
    known = taught.model.generator = Known(0.5)
    metrics = taught.training_step(Batch(torch.full((64, 2), 0.5), None), 0)
    same = metrics["logit_true"].item() == metrics["logit_generated"].item()
    groups = [torch.equal(*t.unflatten(0, (4, 16))[[0, 3]]) for t in known.times]
    assert same == together and groups == 2 * [together]


def test_what_is_noised_for_the_discriminator_is_in_groups_too() -> None:
    taught = game(steps=1, augmentation=4, together=True)
    _, at = taught._shown(torch.ones(64, 2), torch.zeros(64, dtype=torch.long))
    groups = at.unflatten(0, (4, 16))
    assert torch.equal(groups[0], groups[3])
    assert torch.equal(at.bincount(), torch.full((4,), 16))


def test_both_modes_are_learned() -> None:
    """Points at ±1 on the diagonal: most samples are near one of them, and half near each."""
    taught = game(steps=2, rate=3e-3, gamma=0.05)
    generator = torch.Generator().manual_seed(0)
    for step in range(450):
        signs = torch.randint(0, 2, (128, 1), generator=generator) * 2.0 - 1.0
        noise = 0.05 * torch.randn(128, 2, generator=generator)
        taught.training_step(Batch(signs + noise, None), step)
    items = taught.exported().sample(2000, generator).items  # type: ignore[operator]
    near = [(items - side).norm(dim=1) < 0.5 for side in (-1.0, 1.0)]
    assert (near[0] | near[1]).float().mean() > 0.7
    assert min(side.float().mean() for side in near) > 0.25


def test_settings_that_cannot_be() -> None:
    with pytest.raises(UserError, match="gamma must be 0 or more, not -1"):
        AdversarialSettings(-1.0)
    with pytest.raises(UserError, match="r1_every must be 1 or more"):
        AdversarialSettings(1.0, 0)
    with pytest.raises(UserError, match="draws no noise that could be common"):
        game(predicts="previous", together=True)


def test_wasserstein_penalty_and_lines() -> None:
    found = lipschitz_penalty(torch.tensor([1.0, 4.0]))
    torch.testing.assert_close(found, torch.tensor([0.0, 1.0]))
    true, made = torch.zeros(1000, 2), torch.ones(1000, 2)
    line = between(true, made, torch.Generator().manual_seed(0))
    assert torch.equal(line[:, 0], line[:, 1]) and line.min() >= 0.0 and line.max() <= 1.0
    assert line.mean().item() == pytest.approx(0.5, abs=0.03)
