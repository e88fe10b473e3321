"""How far samples are from held-out items of the training split: no test item is looked at."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from components.datasets.loading import split_validation
from components.datasets.shards import read_split
from components.metrics.extractors import CLASSIFIER, Classifier, extract_features, load_extractor
from components.metrics.fidelity import frechet_distance, frechet_key
from components.metrics.likelihood import energy_distance
from components.models.export import load_model
from pipelines.runtime.settings import EnergyDistanceSelect, FrechetSelect

ROWS = 500
Judge = FrechetSelect | EnergyDistanceSelect


def held_out_key(judge: Judge) -> str:
    """Name of the distance, as a training's validation calls it.

    >>> held_out_key(EnergyDistanceSelect(kind="energy-distance", count=10))
    'validation_energy_distance'
    """
    own = "energy_distance" if judge.kind == "energy-distance" else frechet_key(judge.extractor)
    return f"validation_{own}"


def held_out_distance(
    judge: Judge, data: str, count: int, device: torch.device
) -> Callable[[Tensor], float]:
    """The distance of samples from held-out items.

    Args:
        judge: which distance.
        data: name of the data set.
        count: held-out items: those that the training left out for its own validation.
        device: of the extractor.

    Returns:
        Maps stored samples (uint8 images N×C×H×W, or float32 points N×2) to their distance.
    """
    held_out = split_validation(read_split(Path("data/shards") / data, "train"), count)[1].x
    if judge.kind == "energy-distance":
        return lambda items: energy_distance(items, held_out)
    own = judge.extractor == CLASSIFIER
    folder = Path("models/features") / data
    classifier = cast(Classifier, load_model(folder, device)) if own else None
    extractor = load_extractor(judge.extractor, classifier=classifier, device=device)
    real = extract_features(held_out, extractor, ROWS).features
    return lambda items: frechet_distance(extract_features(items, extractor, ROWS).features, real)
