"""Schedule, Adam, clipping and averages against numbers made by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from components.learners.optimisation import (
    Halving,
    Schedule,
    Updater,
    clip_by_adam,
    gradient_norm,
)

CONSTANT = Schedule(0.1, 0, "constant", 10)


class Weights(nn.Module):
    """Two parameters and a buffer."""

    def __init__(self, first: list[float], second: list[float]) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.tensor(first))
        self.second = nn.Parameter(torch.tensor(second))
        self.register_buffer("seen", torch.zeros(()))


def updater(
    network: nn.Module,
    schedule: Schedule = CONSTANT,
    weight_decay: float = 0.0,
    clip_deviations: float | None = None,
    ema: float = 0.0,
) -> Updater:
    return Updater(network, schedule, (0.9, 0.999), weight_decay, clip_deviations, ema)


def move(learned: Updater, loss: torch.Tensor, step: int) -> None:
    learned.begin()
    learned.accumulate(loss)
    learned.update(step)


@pytest.mark.parametrize(
    ("decay", "expected"),
    [
        ("constant", [0.5, 1.0, 1.5, 2.0, 2.0, 2.0, 2.0, 2.0]),
        ("linear", [0.5, 1.0, 1.5, 2.0, 2.0, 1.5, 1.0, 0.5]),
        ("cosine", [0.5, 1.0, 1.5, 2.0, 2.0, 1.0 + math.sqrt(0.5), 1.0, 1.0 - math.sqrt(0.5)]),
        (Halving(1), [0.5, 1.0, 1.5, 2.0, 2.0, 1.0, 0.5, 0.25]),
        (Halving(3), [0.5, 1.0, 1.5, 2.0, 2.0, 2.0, 2.0, 1.0]),
    ],
)
def test_learning_rate_rises_and_falls(decay, expected):
    schedule = Schedule(2.0, 4, decay, 8)
    assert [schedule.at(step) for step in range(8)] == pytest.approx(expected)


@pytest.mark.parametrize("decay", ["linear", "cosine"])
def test_learning_rate_never_turns_its_sign(decay):
    assert [Schedule(2.0, 2, decay, 8).at(step) for step in (8, 9, 20)] == [0.0, 0.0, 0.0]
    # Shorter than the warm start that came before it.
    assert Schedule(2.0, 0, decay, -5).at(3) >= 0.0


def test_update_is_adam_at_the_scheduled_rate():
    schedule = Schedule(0.2, 2, "linear", 4)
    network = Weights([1.0, -2.0], [0.5])
    learned = updater(network, schedule, weight_decay=0.3)
    theta = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    m, v = torch.zeros(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    slopes = torch.tensor([[1.0, -3.0, 0.2], [0.5, 0.4, -2.0], [0.0, 1.0, 1.0]])
    for step, slope in enumerate(slopes):
        move(learned, (network.first * slope[:2]).sum() + (network.second * slope[2]).sum(), step)
        gradient = slope.double() + 0.3 * theta
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        t = step + 1
        deviation = (v / (1.0 - 0.999**t)).sqrt() + 1e-8
        theta = theta - schedule.at(step) * m / (1.0 - 0.9**t) / deviation
    found = torch.cat([network.first, network.second]).detach().double()
    torch.testing.assert_close(found, theta, rtol=1e-5, atol=1e-6)


def test_gradients_do_not_add_up_over_updates():
    network = Weights([1.0], [1.0])
    learned = updater(network)
    for step in range(3):
        move(learned, 2.0 * network.first.sum() + network.second.sum(), step)
    assert network.first.grad.item() == 2.0


def test_frozen_parameters_stay():
    network = Weights([1.0], [1.0])
    network.second.requires_grad_(False)
    learned = updater(network, weight_decay=1.0)
    move(learned, (network.first * network.second).sum(), 0)
    assert network.second.item() == 1.0 and network.first.item() != 1.0


def test_clipping_by_hand():
    """After gradients g₁, g₂ the estimate is v̂ = (β₂ (1-β₂) g₁² + (1-β₂) g₂²) / (1 - β₂²)."""
    network = Weights([0.0, 0.0, 0.0], [0.0])
    adam = torch.optim.Adam(network.parameters(), lr=0.1, betas=(0.9, 0.5))
    for gradient in ([1.0, 2.0, 0.0], [3.0, 2.0, 0.0]):
        network.first.grad, network.second.grad = torch.tensor(gradient), torch.zeros(1)
        adam.step()
    # v̂ = (0.25 g₁² + 0.5 g₂²) / 0.75.
    deviations = [math.sqrt((0.25 + 4.5) / 0.75), 2.0]
    network.first.grad = torch.tensor([-100.0, 100.0, 100.0])
    network.second.grad = torch.tensor([-7.0])
    clip_by_adam(adam, 3.0)
    expected = torch.tensor([-3.0 * deviations[0], 3.0 * deviations[1], 100.0])
    torch.testing.assert_close(network.first.grad, expected)
    # Never seen to move, so not bounded.
    assert network.second.grad.item() == -7.0
    network.first.grad = torch.tensor([2.9 * deviations[0], -5.9, 0.1])
    clip_by_adam(adam, 3.0)
    torch.testing.assert_close(
        network.first.grad, torch.tensor([2.9 * deviations[0], -5.9, 0.1]), rtol=0.0, atol=0.0
    )


def test_clipping_before_the_first_step_and_of_missing_gradients_does_nothing():
    network = Weights([1.0], [1.0])
    adam = torch.optim.Adam(network.parameters())
    network.first.grad = torch.tensor([50.0])
    clip_by_adam(adam, 1.0)
    assert network.first.grad.item() == 50.0
    adam.step()
    network.first.grad = None
    clip_by_adam(adam, 1.0)
    assert network.first.grad is None


def test_update_clips_what_it_is_told_to():
    def after(clip: float | None) -> Tensor:
        network = Weights([0.0], [0.0])
        learned = updater(network, clip_deviations=clip)
        for step, slope in enumerate((1.0, 1.0, 1000.0)):
            move(learned, slope * network.first.sum(), step)
        assert network.first.grad.item() == (
            1000.0 if clip is None else pytest.approx(2.0, rel=1e-4)
        )
        return network.first.detach()

    assert after(2.0) != after(None)


def test_average_ramps_up_and_then_keeps_its_decay():
    network = Weights([0.0], [0.0])
    learned = updater(network, ema=0.3)
    average = 0.0
    for step in range(6):
        network.seen.fill_(step)
        move(learned, network.first.sum(), step)
        decay = min(0.3, (1 + step) / (10 + step))
        average = decay * average + (1.0 - decay) * network.first.item()
        assert learned.average.first.item() == pytest.approx(average, rel=1e-5)
        assert learned.average.seen.item() == step
    assert (1 + 5) / (10 + 5) > 0.3 > 1 / 10
    assert not learned.average.first.requires_grad


def test_average_begins_again_at_the_present_weights():
    network = Weights([0.0], [0.0])
    learned = updater(network, ema=0.9)
    for step in range(3):
        move(learned, network.first.sum(), step)
    assert learned.average.first.item() != network.first.item()
    network.seen.fill_(5.0)
    learned.restart_average()
    assert torch.equal(learned.average.first, network.first)
    assert learned.average.seen.item() == 5.0
    move(learned, network.first.sum(), 3)
    assert not torch.equal(learned.average.first, network.first)


def test_without_an_average_the_network_itself_is_exported():
    network = Weights([0.0], [0.0])
    assert updater(network).average is network


def test_gradient_norm_is_that_of_all_together():
    network = Weights([0.0, 0.0], [0.0])
    network.first.grad = torch.tensor([2.0, 3.0])
    assert gradient_norm(network.parameters()).item() == pytest.approx(math.sqrt(13.0))
    network.second.grad = torch.tensor([6.0])
    assert gradient_norm(network.parameters()).item() == pytest.approx(7.0)
