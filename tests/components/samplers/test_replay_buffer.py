"""Where chains start from."""

from __future__ import annotations

import pytest
import torch

from components.errors import UserError
from components.samplers.replay_buffer import ReplayBuffer


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_probability_grows_linearly():
    buffer = ReplayBuffer(10, [2], probability=0.6, anneal_steps=5000)
    assert [buffer.probability(step) for step in (0, 2500, 5000, 9000)] == [0.0, 0.3, 0.6, 0.6]
    assert ReplayBuffer(10, [2], probability=0.6, anneal_steps=0).probability(0) == 0.6


@pytest.mark.parametrize(("step", "share"), [(0, 0.0), (50, 0.3), (100, 0.6)])
def test_rows_come_from_the_buffer_with_probability_p(step, share):
    buffer = ReplayBuffer(10, [1, 2], probability=0.6, anneal_steps=100)
    buffer.push(torch.full((10, 1, 2), 100.0), seeded())
    x = buffer.draw(20_000, step, seeded(1))
    old = (x == 100.0).flatten(1).all(1)
    assert old.float().mean().item() == pytest.approx(share, abs=0.02)
    fresh = x[~old]
    assert fresh.mean().item() == pytest.approx(0.0, abs=0.03)
    assert fresh.var().item() == pytest.approx(1.0, abs=0.05)


def test_empty_buffer_gives_noise():
    x = ReplayBuffer(10, [3], probability=1.0, anneal_steps=0).draw(20_000, 0, seeded())
    assert x.shape == (20_000, 3)
    assert x.std().item() == pytest.approx(1.0, abs=0.02)


def test_all_rows_are_drawn_alike():
    buffer = ReplayBuffer(4, [1], probability=1.0, anneal_steps=0)
    buffer.push(torch.arange(4.0).view(4, 1), seeded())
    counts = buffer.draw(20_000, 0, seeded(1)).flatten().long().bincount()
    assert counts.tolist() == pytest.approx([5000] * 4, rel=0.06)


def test_full_buffer_replaces_old_rows_with_all_new_ones():
    buffer = ReplayBuffer(6, [1], probability=1.0, anneal_steps=0)
    buffer.push(torch.arange(4.0).view(4, 1), seeded())
    buffer.push(torch.arange(10.0, 15.0).view(5, 1), seeded())
    rows = buffer.state_dict()["rows"].flatten().tolist()
    assert len(buffer) == 6
    assert set(rows) > {10.0, 11.0, 12.0, 13.0, 14.0}
    buffer.push(torch.arange(20.0, 30.0).view(10, 1), seeded())
    assert sorted(buffer.state_dict()["rows"].flatten().tolist()) == [24, 25, 26, 27, 28, 29]


def test_restored_buffer_goes_on_exactly():
    buffer = ReplayBuffer(6, [2], probability=0.5, anneal_steps=0)
    buffer.push(torch.randn(4, 2, generator=seeded()), seeded())
    saved = buffer.state_dict()
    other = ReplayBuffer(6, [2], probability=0.5, anneal_steps=0)
    other.load_state_dict(saved)
    for one in (buffer, other):
        one.push(torch.ones(5, 2), seeded(2))
    assert torch.equal(buffer.draw(50, 3, seeded(3)), other.draw(50, 3, seeded(3)))
    assert len(saved["rows"]) == 4  # a copy: not touched by what came after


def test_stored_rows_are_copies_without_a_graph():
    buffer = ReplayBuffer(3, [2], probability=1.0, anneal_steps=0)
    x = torch.ones(3, 2, requires_grad=True)
    buffer.push(x, seeded())
    drawn = buffer.draw(3, 0, seeded())
    drawn.zero_()
    assert not drawn.requires_grad
    assert torch.equal(buffer.state_dict()["rows"], torch.ones(3, 2))


def test_wrong_settings_and_states_are_refused():
    with pytest.raises(UserError, match="probability from 0 to 1"):
        ReplayBuffer(10, [2], probability=1.2, anneal_steps=0)
    with pytest.raises(UserError, match="takes at most"):
        ReplayBuffer(2, [2], probability=1.0, anneal_steps=0).load_state_dict(
            {"rows": torch.zeros(3, 2)}
        )


def test_fresh_rows_are_those_that_are_given():
    """In the place of noise, and copied where there is nothing else to draw."""
    buffer = ReplayBuffer(10, [2], probability=0.5, anneal_steps=0)
    fresh = torch.full((1000, 2), 7.0)
    x = buffer.draw(1000, 0, seeded(), fresh)
    assert torch.equal(x, fresh) and x.data_ptr() != fresh.data_ptr()
    buffer.push(torch.full((10, 2), 100.0), seeded())
    x = buffer.draw(1000, 0, seeded(), fresh)
    assert set(x.flatten().tolist()) == {7.0, 100.0}
    assert (x[:, 0] == 7.0).float().mean().item() == pytest.approx(0.5, abs=0.06)
