"""The normaliser of the warm start, and the guard while the energy learns."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from components.datasets.loading import Batch
from components.models.build import seeded
from components.models.vaebm import VAEBM
from tests.components.learners.test_tilting import (
    IMAGES,
    data,
    gaussian_base,
    learner,
    log_ratio,
)

GUARDED = IMAGES | {"energy": {"kind": "strided", "filters": [4, 8], "guard": 0.2}}


class WithoutConstant(nn.Module):
    """f(x) = Σ (aᵢ xᵢ² + bᵢ xᵢ)."""

    def __init__(self) -> None:
        super().__init__()
        self.square, self.linear = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2))

    def forward(self, x: Tensor) -> Tensor:
        return x.square() @ self.square + x @ self.linear


@pytest.mark.parametrize("learned", [True, False])
def test_a_learned_normaliser_is_the_ratios_constant(learned: bool) -> None:
    """log p_data/p_base = c - f, and f is 0 at 0: c is the log-ratio there."""
    taught = learner(
        VAEBM(gaussian_base(), WithoutConstant()),
        warm_start_steps=300,
        warm_start_rate=0.05,
        warm_start_normaliser=learned,
    )
    for step in range(300):
        taught.training_step(data(2000, step), step)
    true = log_ratio(torch.zeros(1, 2)).item()
    assert true > 0.2
    found = taught.normaliser().item()
    assert found == (pytest.approx(true, abs=0.05) if learned else 0.0)


def test_the_guard_follows_the_data_and_leaves_the_learning_alone() -> None:
    images = torch.randint(0, 256, (8, 1, 8, 8), generator=torch.Generator().manual_seed(0))
    batch = Batch(images.to(torch.uint8), None)
    plain = copy.deepcopy(GUARDED)
    plain["energy"]["guard"] = 0.0
    with_guard, without = (
        learner(seeded(model, 1), warm_start_steps=2) for model in (GUARDED, plain)
    )
    for step in range(2):
        with_guard.training_step(batch, step)
        without.training_step(batch, step)
    guard = with_guard.model.energy.guard
    assert guard.batches.item() == 2
    assert guard.mean.abs().max() > 0.0
    assert torch.equal(guard.mean, with_guard.exported().energy.guard.mean)
    learned = dict(with_guard.model.energy.named_parameters())
    for name, parameter in without.model.energy.named_parameters():
        assert torch.equal(learned[name], parameter)


def test_both_go_on_after_a_kill() -> None:
    images = torch.randint(0, 256, (8, 1, 8, 8), generator=torch.Generator().manual_seed(0))
    batch = Batch(images.to(torch.uint8), None)
    whole, killed, resumed = (
        learner(seeded(GUARDED, 1), warm_start_steps=3, warm_start_normaliser=True)
        for _ in range(3)
    )
    for step in range(4):
        whole.training_step(batch, step)
    for step in range(2):
        killed.training_step(batch, step)
    resumed.load_state_dict(copy.deepcopy(killed.state_dict()))
    for step in range(2, 4):
        resumed.training_step(batch, step)
    assert torch.equal(resumed.normaliser(), whole.normaliser())
    mine, theirs = resumed.model.energy.state_dict(), whole.model.energy.state_dict()
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)
