"""How the kept checkpoint is chosen: distances of samples from data, on the way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from components.datasets.loading import split_validation
from components.datasets.shards import read_split
from components.images import quantise
from components.metrics.likelihood import energy_distance
from components.models.export import load_model
from components.networks.classifier import StackedClassifier
from pipelines.runtime.launch import Place
from pipelines.runtime.pictures import picture_of
from pipelines.runtime.settings import Plan, SamplesSelect
from pipelines.runtime.task import Validation
from pipelines.training.entries import FEATURES

ROWS = 500
SHOWN = 64
VALIDATION_NFE = "validation_nfe"
"""Figure of a validation: network evaluations behind its samples, where their number varies."""
Measure = Callable[[Tensor], dict[str, float]]


class Drawn(Protocol):
    """What a model's samples come in."""

    @property
    def items(self) -> Tensor:
        """N×shape."""


class Sampled(Protocol):
    """A model that draws by itself alone."""

    def sample(self, count: int, generator: torch.Generator, /) -> Drawn:
        """Draw items."""


class SelectedSettings(Protocol):
    """What the settings of a training hold whose weights are chosen by samples."""

    @property
    def data(self) -> str:
        """The data set's name."""

    @property
    def seed(self) -> int:
        """Of the training, and of each validation's samples."""

    @property
    def select(self) -> SamplesSelect:
        """How weights are chosen."""

    @property
    def plan(self) -> Plan:
        """Says how many items are held out."""


def judge_of(settings: SelectedSettings) -> dict[str, Path]:
    """What a training's validations read beside its data set's shards."""
    judged = settings.select.kind in ("frechet", "watched")
    return {"features": FEATURES / settings.data} if judged else {}


def validation_of(
    settings: SelectedSettings, description: Mapping[str, Any], place: Place
) -> Callable[[nn.Module, int], Validation]:
    """Draw samples as the model itself draws them and measure how far they are from data."""
    select = settings.select
    measure = measure_of(select, settings.plan, description, place.device)
    count = samples_wanted(select)

    def validate(model: nn.Module, step: int) -> Validation:
        generator = torch.Generator(place.device).manual_seed(settings.seed)
        sizes = [min(ROWS, count - first) for first in range(0, count, ROWS)]
        items = torch.cat([cast(Sampled, model).sample(size, generator).items for size in sizes])
        metrics = measure(items)
        chooses = metrics and select.kind != "watched"
        score = next(iter(metrics.values())) if chooses else None
        return Validation(metrics, score, picture_of(items[:SHOWN]))

    return validate


def measure_of(
    select: SamplesSelect, plan: Plan, description: Mapping[str, Any], device: torch.device
) -> Measure:
    """What says how far samples are from held-out items, by one figure or none.

    Args:
        select: the settings of the choice.
        plan: says how many items are held out.
        description: of the job; paths of ``shards`` and ``features``, the latter for images.
        device: of the extractor.
    """
    match select.kind:
        case "last":
            return lambda items: {}
        case "frechet" | "watched":
            # Seconds to import, and not needed by trainings that are chosen otherwise.
            from components.metrics.extractors import (
                CLASSIFIER,
                Classifier,
                extract_features,
                load_extractor,
            )
            from components.metrics.fidelity import frechet_distance
            from components.metrics.stacked import classes_of, stacked_coverage
            from pipelines.judging.references import read_reference

            features, judge = Path(description["features"]), select.extractor
            own = load_model(features, device) if judge == CLASSIFIER else None
            extractor = load_extractor(
                judge, classifier=cast(Classifier | None, own), device=device
            )
            real = read_reference(features, judge, "train").features

            def judged(items: Tensor) -> dict[str, float]:
                images = quantise(items)
                found = extract_features(images, extractor, ROWS).features
                figures = {f"validation_frechet_{judge}": frechet_distance(found, real)}
                if isinstance(own, StackedClassifier):
                    coverage = stacked_coverage(*classes_of(own, images))
                    figures["validation_modes"] = float(coverage.modes)
                    figures["validation_mode_kl"] = coverage.mode_kl
                return figures

            return judged
        case "energy-distance":
            train = read_split(Path(description["shards"]), "train")
            held_out = split_validation(train, plan.validation_count)[1].x
            return lambda items: {
                "validation_energy_distance": energy_distance(items.cpu(), held_out)
            }


def samples_wanted(select: SamplesSelect) -> int:
    """Samples to draw at each validation: those of the figure, or those shown."""
    return SHOWN if select.kind == "last" else select.count
