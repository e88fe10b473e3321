"""Settings of the judges of denoising models (chapter 6): samplers, pictures, strokes."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from pipelines.runtime.settings.base import Amount, Count, Positive, Settings
from pipelines.runtime.settings.diffusion import DiffusionSampler
from pipelines.runtime.settings.judging import DistributionRecall, Draws, Extractor


class DenoisingSample(Draws):
    """Samples of a denoising model."""

    model: str  # whose weights are read: several entries may sample one model by other samplers
    sampler: DiffusionSampler | None  # of a diffusion model; null: the model's own
    path_states: Amount  # states on the way from noise that are kept for the pictures; 0: none


class Guesses(Settings):
    """Draws of x_0 given x_t (Figures 6.8 and 6.14)."""

    images: Count  # test images that are noised
    draws: Count  # of each at each t


class DenoisingImageEvaluate(Settings):
    """Distances, recall, modes, cost and pictures of a denoising model of images."""

    kind: Literal["denoising-images"]
    data: str
    model: str  # whose weights made the samples
    extractors: list[Extractor]  # of the data set's features
    inception_weights: str | None  # path; null: torch-fidelity's own download
    precision_recall: DistributionRecall
    guesses: Guesses | None  # of a denoising GAN; null: none
    timing_count: Count  # items whose sampling time is told; 100 in the dissertation


class DenoisingPointEvaluate(Settings):
    """Modes, quality and cost of a denoising model of points."""

    kind: Literal["denoising-points"]
    data: str
    model: str  # whose weights made the samples
    mode_radius: Positive  # σ: farther from every mode is off-mode
    extent: Positive  # pictures cover [-extent, extent]²
    timing_count: Count  # items whose sampling time is told


class Synthesis(Settings):
    """Images from strokes, noised in part and denoised (6.4.6)."""

    model: str
    data: str
    picture: str | None  # path of a picture of one's own; null: strokes made of test images
    steps: Count  # t of x_t from which denoising begins, T at the most
    strokes: Count  # pictures that are shown
    draws: Count  # results of each
    colours: Count  # of a stroke picture made of a test image
    seed: Amount

    @model_validator(mode="after")
    def _strokes_have_colours(self) -> Synthesis:
        if self.colours < 2:
            raise ValueError("colours 2 or more")
        return self
