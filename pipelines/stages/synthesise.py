"""Make images of strokes: synthesise.NAME of the settings (dissertation, 6.4.6).

A picture of your own (--set synthesise.NAME.picture=PATH), or test images flattened to a few
colours, is noised in part and denoised. Writes plots/synthesise/NAME/strokes.png, strokes in the
first row, results below them; of a denoising GAN guesses.png too: a row a picture, which is noised
to each x_t and followed by draws of x_0 given x_t. Both go to the model's row in MLflow.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from components.datasets.shards import read_split
from components.errors import UserError
from components.files import whole_folder
from components.images import as_rgb, quantise, resize, to_unit
from components.learners.learner import as_model_input
from components.models.ddpm import DDPM
from components.models.denoising_gan import DenoisingGAN
from components.models.export import load_model, weights_digest
from components.plots.grids import enlargement, save_png
from components.plots.rows import interpolation_grid
from pipelines.judging.guesses import guess_grid
from pipelines.runtime.cli import run_stage
from pipelines.runtime.settings import Params, Synthesis, entry
from pipelines.runtime.tracking import WEIGHTS_TAG, Tracker

LARGEST = 50_000_000
"""Pixels of a picture that is read."""


def main(name: str, params: Params) -> None:
    """Run the stage for one entry."""
    settings = entry(params.synthesise, "synthesise", name)
    torch.set_num_threads(params.runtime.threads)
    device = torch.device("cuda" if params.runtime.gpu else "cpu")
    model = load_model(Path("models") / settings.model, device)
    if not isinstance(model, DenoisingGAN | DDPM) or len(model.shape) != 3:
        raise UserError(f"synthesise.{name}.model: {settings.model} is no denoiser of images")
    if settings.steps > model.process.steps:
        raise UserError(
            f"synthesise.{name}.steps: {settings.model} has {model.process.steps} steps, not "
            f"{settings.steps}"
        )
    strokes = strokes_of(settings, model.shape)
    tracker = Tracker(params.runtime, Path.cwd())
    shown = synthesised(model, strokes, settings)
    plots = Path("plots/synthesise") / name
    with whole_folder(plots) as folder:
        save_png(interpolation_grid(shown, enlargement(shown.shape[-1])), folder / "strokes.png")
        # Direct denoising predicts no x_0 before its last step.
        if isinstance(model, DenoisingGAN) and model.predicts != "previous":
            grid = guess_grid(model, strokes, settings.draws, settings.seed)
            save_png(grid, folder / "guesses.png")
    weights = weights_digest(Path("models") / settings.model)
    row = tracker.row(settings.model, {WEIGHTS_TAG: weights}, {"dvc.stage": f"synthesise@{name}"})
    row.artifacts(plots, f"synthesise/{name}")
    row.end()
    print(f"synthesise {name}: pictures in {plots}")


def strokes_of(settings: Synthesis, shape: tuple[int, ...]) -> Tensor:
    """Pictures to begin with: uint8, N×C×H×W."""
    if settings.picture is not None:
        return read_picture(Path(settings.picture), shape)
    images = read_split(Path("data/shards") / settings.data, "test").x[: settings.strokes]
    # As a painter would: few tones, and none of the detail, of which small images have little.
    unit, side = to_unit(images), shape[-1]
    coarse = resize(resize(unit, min(side, max(8, side // 12))), side)
    return quantise((coarse * (settings.colours - 1)).round() / (settings.colours - 1))


def read_picture(path: Path, shape: tuple[int, ...]) -> Tensor:
    """A picture of any size as a stored image, its middle square resized: uint8, 1×C×H×W.

    Raises:
        UserError: there is none, it is no picture, or it is too large.
    """
    try:
        with Image.open(path) as opened:
            if opened.width * opened.height > LARGEST:
                raise UserError(f"{path} has more than {LARGEST:,} pixels: make it smaller")
            picture: Any = np.asarray(opened.convert("RGB"))
    except FileNotFoundError:
        raise UserError(f"no picture {path}") from None
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        raise UserError(f"{path} is no picture that can be read: {error}") from None
    height, width, _ = picture.shape
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = picture[top : top + side, left : left + side].transpose(2, 0, 1)
    unit = resize(to_unit(torch.tensor(square.copy()).unsqueeze(0)), shape[-1])
    return quantise(as_rgb(unit) if shape[0] == 3 else unit.mean(dim=1, keepdim=True))


def synthesised(model: DenoisingGAN | DDPM, strokes: Tensor, settings: Synthesis) -> Any:
    """A row of strokes, and rows of results: uint8, draws+1×N×C×H×W."""
    device = next(model.parameters()).device
    generator = torch.Generator(device).manual_seed(settings.seed)
    clean = model.states.of(as_model_input(strokes, device))
    times = torch.full((len(clean),), settings.steps, device=device)
    rows = [strokes]
    for _ in range(settings.draws):
        noise = torch.empty_like(clean).normal_(generator=generator)
        noisy = model.process.diffuse(clean, times, noise)
        found = model.denoised_from(noisy, settings.steps, generator)
        rows.append(quantise(found.items).cpu())
    return torch.stack(rows).numpy()


if __name__ == "__main__":
    run_stage(__doc__, main)
