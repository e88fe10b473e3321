"""Settings of EBMs without a base, whose finite sampler generates (dissertation, chapter 5)."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from pipelines.runtime.settings.base import Amount, Count, NonNegative, Positive, Settings
from pipelines.runtime.settings.composing import (
    EnergyNetwork,
    Langevin,
    Replay,
)
from pipelines.runtime.settings.judging import (
    ChainDiagnosis,
    GalleryEvaluate,
)
from pipelines.runtime.settings.selecting import Select
from pipelines.runtime.settings.training import Optimiser, Plan


class Start(Settings):
    """The law of x_0, the same for all coordinates; those of images are stretched to [-1, 1]."""

    law: Literal["normal", "uniform"]  # N(0, scale²), or uniform on [-scale, scale]
    scale: Positive


class ShortRunPretrain(Settings):
    """An energy whose K Langevin steps are the generator (Eq. 5.1, 5.3, 5.8, 5.14)."""

    kind: Literal["short-run-ebm"]
    data: str
    seed: Amount
    energy: EnergyNetwork
    langevin: Langevin  # K steps that are part of the model; noise_scale 0: Eq. 5.8
    start: Start
    generator_weight: NonNegative  # factor of Eq. 5.13; 0: Eq. 5.1 alone, 1: Eq. 5.14
    checkpoint: bool  # Eq. 5.13 computes steps again on the way back, and keeps none of them
    energy_magnitude: NonNegative  # coefficient of the mean of E² over data and chains
    max_gap: Positive  # mean energy of chains over that of data that counts as run away
    replay: Replay | None  # chains go on from where earlier ones ended; null: always from the start
    optimiser: Optimiser
    plan: Plan
    select: Select

    @model_validator(mode="after")
    def _parts_go_together(self) -> ShortRunPretrain:
        if not self.generator_weight:
            if self.checkpoint:
                raise ValueError("checkpoint false: without a generator_weight no step is kept")
            return self
        if self.langevin.metropolis:
            raise ValueError("metropolis false with a generator_weight, which differentiates steps")
        if self.checkpoint and self.energy.normalisation == "spectral":
            raise ValueError(
                "checkpoint false, or normalisation none or weight: steps computed again find "
                "another spectral one"
            )
        return self


class Reconstruction(Settings):
    """Test images reached by optimising x_0 through the unrolled sampler (5.1.1)."""

    count: Count  # images
    steps: Count  # of Adam
    rate: Positive  # its learning rate at first, in a state's units
    checkpoint: bool  # compute the sampler's steps again on the way back, and keep none of them


class ShortRunEvaluate(GalleryEvaluate):
    """A sampler that generates images: samples, reconstructions, what longer chains do."""

    kind: Literal["short-run-images"]
    energy_count: Count  # test images whose energies are compared with those of samples
    reconstructions: Reconstruction
    diagnosis: ChainDiagnosis | None
