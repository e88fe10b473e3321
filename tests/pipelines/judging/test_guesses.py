"""Guesses of x_0 by a generator whose result is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from components.errors import UserError
from components.models.denoising_gan import DenoisingGAN
from components.plots.grids import GAP, enlargement
from components.samplers.diffusion import DiffusionProcess, DiffusionSettings
from pipelines.judging.guesses import guess_grid

SIDE, DRAWS = 8, 2


class Grey(nn.Module):
    """Takes everything for an even grey, a quarter at t = 0 and three quarters at t = 1."""

    def __init__(self) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor, t: Tensor, z: Tensor | None = None) -> Tensor:
        return (t - 0.5).view(-1, 1, 1, 1) + 0.0 * x  # states are in [-1, 1]


def test_a_row_is_an_image_and_for_each_t_its_noise_and_guesses() -> None:
    # Next to no noise at t = 1, hardly anything else at t = 2.
    process = DiffusionProcess(
        DiffusionSettings(2, "geometric", smallest=1e-10, largest=1.0 - 1e-10)
    )
    model = DenoisingGAN(Grey(), (1, SIDE, SIDE), process, latent=3)
    images = torch.arange(0, 256, 2, dtype=torch.uint8).view(2, 1, SIDE, SIDE)
    grid = guess_grid(model, images, DRAWS, seed=0)
    scale = enlargement(SIDE)
    cell, columns = SIDE * scale + GAP, 1 + 2 * (1 + DRAWS)
    assert grid.shape == (2 * cell + GAP, columns * cell + GAP, 3)
    shown = grid[GAP:, GAP:].reshape(2, cell, columns, cell, 3).swapaxes(1, 2)
    shown = shown[:, :, : cell - GAP : scale, : cell - GAP : scale, 0].astype(int)
    for image, row in zip(images[:, 0].numpy().astype(int), shown, strict=True):
        assert (row[0] == image).all()
        assert np.abs(row[1] - image).max() <= 1
        assert (row[2 : 2 + DRAWS] == 64).all()
        # White and black mostly: standard normal states, beyond [-1, 1] or not.
        assert abs(np.corrcoef(row[2 + DRAWS].ravel(), image.ravel())[0, 1]) < 0.5
        assert row[2 + DRAWS].std() > 60
        assert (row[3 + DRAWS :] == 191).all()


def test_direct_denoising_has_no_guesses() -> None:
    process = DiffusionProcess(DiffusionSettings(2))
    model = DenoisingGAN(Grey(), (1, SIDE, SIDE), process, predicts="previous")
    with pytest.raises(UserError, match="no x_0"):
        guess_grid(model, torch.zeros(1, 1, SIDE, SIDE, dtype=torch.uint8), DRAWS, seed=0)
