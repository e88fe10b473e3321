"""Resampling by the filter [1, 3, 3, 1]: what is constant stays, what alternates goes."""

from __future__ import annotations

import torch

from components.networks.fir import Downsample, Upsample


def test_a_constant_stays_away_from_the_border() -> None:
    x = torch.full((2, 3, 8, 8), 1.7)
    for layer, side in ((Downsample(), 4), (Upsample(), 16)):
        found = layer(x)
        assert found.shape == (2, 3, side, side)
        inner = found[:, :, 1:-1, 1:-1]
        torch.testing.assert_close(inner, torch.full_like(inner, 1.7))


def test_a_chessboard_does_not_alias() -> None:
    """Taking every other pixel would leave ones or minus ones of it."""
    rows = torch.arange(8)
    board = 1.0 - 2.0 * ((rows[:, None] + rows) % 2).float()
    assert Downsample()(board.view(1, 1, 8, 8))[..., 1:-1, 1:-1].abs().max() < 1e-6


def test_up_is_four_times_the_transpose_of_down() -> None:
    """⟨Up x, y⟩ = 4 ⟨x, Down y⟩."""
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(2, 3, side, side, generator=generator) for side in (4, 8))
    torch.testing.assert_close((Upsample()(x) * y).sum(), 4.0 * (x * Downsample()(y)).sum())


def test_channels_do_not_mix_and_nothing_is_saved() -> None:
    x = torch.zeros(1, 2, 4, 4)
    x[:, 1] = torch.randn(4, 4, generator=torch.Generator().manual_seed(1))
    assert Downsample()(x)[:, 0].abs().max() == 0.0 and Upsample()(x)[:, 0].abs().max() == 0.0
    assert not Upsample().state_dict()
