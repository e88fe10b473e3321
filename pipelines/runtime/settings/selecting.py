"""Settings of the choice of the kept checkpoint."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pipelines.runtime.settings.base import Count, Settings


class LastSelect(Settings):
    """Export the last stable weights."""

    kind: Literal["last"]


class FrechetSelect(Settings):
    """Export the weights whose samples are nearest to the training images."""

    kind: Literal["frechet"]
    extractor: Literal["classifier", "imagenet"]  # one of the data set's features section
    count: Count  # samples drawn at each validation


class WatchedSelect(Settings):
    """Export the last stable weights, and tell on the way how far samples are from training images.

    Of stacked digits it is told as well how many modes they cover.
    """

    kind: Literal["watched"]
    extractor: Literal["classifier", "imagenet"]  # one of the data set's features section
    count: Count  # samples drawn at each validation


class EnergyDistanceSelect(Settings):
    """Export the weights whose samples are nearest to the held-out points."""

    kind: Literal["energy-distance"]
    count: Count  # samples drawn at each validation


Select = Annotated[LastSelect | FrechetSelect | EnergyDistanceSelect, Field(discriminator="kind")]
SamplesSelect = Annotated[
    LastSelect | WatchedSelect | FrechetSelect | EnergyDistanceSelect, Field(discriminator="kind")
]
