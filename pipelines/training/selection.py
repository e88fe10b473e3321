"""How the kept checkpoint is chosen: distances of samples from data, on the way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from components.datasets.loading import split_validation
from components.datasets.shards import read_split
from components.images import quantise
from components.metrics.likelihood import energy_distance
from components.models.export import load_model
from pipelines.runtime.settings import Plan, Select

ROWS = 500
SHOWN = 64
VALIDATION_NFE = "validation_nfe"
"""Figure of a validation: network evaluations behind its samples, where their number varies."""
Measure = Callable[[Tensor], dict[str, float]]


def measure_of(
    select: Select, plan: Plan, description: Mapping[str, Any], device: torch.device
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
        case "frechet":
            # Seconds to import, and not needed by trainings that are chosen otherwise.
            from components.metrics.extractors import (
                CLASSIFIER,
                Classifier,
                extract_features,
                load_extractor,
            )
            from components.metrics.fidelity import frechet_distance
            from pipelines.judging.references import read_reference

            features, judge = Path(description["features"]), select.extractor
            own = cast(Classifier, load_model(features)) if judge == CLASSIFIER else None
            extractor = load_extractor(judge, classifier=own, device=device)
            real = read_reference(features, judge, "train").features

            def frechet(items: Tensor) -> dict[str, float]:
                found = extract_features(quantise(items), extractor, ROWS).features
                return {f"validation_frechet_{judge}": frechet_distance(found, real)}

            return frechet
        case "energy-distance":
            train = read_split(Path(description["shards"]), "train")
            held_out = split_validation(train, plan.validation_count)[1].x
            return lambda items: {
                "validation_energy_distance": energy_distance(items.cpu(), held_out)
            }


def samples_wanted(select: Select) -> int:
    """Samples to draw at each validation: those of the figure, or those shown."""
    return SHOWN if select.kind == "last" else select.count
