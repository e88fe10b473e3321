"""What a denoising GAN takes noisy images for: draws of x_0 given x_t (Figures 6.8 and 6.14)."""

from __future__ import annotations

import torch
from torch import Tensor

from components.images import quantise
from components.learners.learner import as_model_input
from components.models.denoising_gan import DenoisingGAN
from components.plots.grids import Pixels, enlargement
from components.plots.rows import interpolation_grid


def guess_grid(model: DenoisingGAN, images: Tensor, draws: int, seed: int) -> Pixels:
    """Images, and for each t the noisy one and draws of x_0 given it: a row an image.

    Args:
        model: that predicts x_0, or the noise.
        images: uint8, N×C×H×W.
        draws: of each noisy image.
        seed: of all noise.

    Returns:
        uint8, height×width×3.

    Raises:
        UserError: a model of ``previous``, which has no x_0 before the last step.
    """
    device = next(model.parameters()).device
    generator = torch.Generator(device).manual_seed(seed)
    clean = model.states.of(as_model_input(images, device))
    columns = [images]
    for t in range(1, model.process.steps + 1):
        times = torch.full((len(clean),), t, device=device)
        noise = torch.empty_like(clean).normal_(generator=generator)
        noisy = model.process.diffuse(clean, times, noise)
        columns.append(quantise(model.states.items(noisy)).cpu())
        guesses = model.guesses(noisy, t - 1, draws, generator)
        columns += list(quantise(guesses).cpu())
    rows = torch.stack(columns, dim=1).numpy()
    return interpolation_grid(rows, enlargement(rows.shape[-1]))
