"""Extractors of a data set and the features of its real images, as the features stage left them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch_fidelity.feature_extractor_base import FeatureExtractorBase

from components.errors import UserError
from components.metrics.extractors import Classifier, Features, load_extractor
from pipelines.runtime.settings import (
    DenoisingImageEvaluate,
    ImageFeatures,
    LatentEvaluate,
    ShortRunEvaluate,
    StackedFeatures,
)

Extracting = (
    ImageFeatures | StackedFeatures | LatentEvaluate | ShortRunEvaluate | DenoisingImageEvaluate
)
"""Settings that name extractors."""


def load_extractors(
    settings: Extracting, classifier: Classifier | None, device: torch.device
) -> dict[str, FeatureExtractorBase]:
    """The extractors that the settings name, ready to use."""
    path = Path(settings.inception_weights) if settings.inception_weights else None
    return {
        name: load_extractor(name, classifier=classifier, inception_path=path, device=device)
        for name in settings.extractors
    }


def write_reference(folder: Path, extractor: str, split: str, features: Features) -> None:
    """Keep features and logits of real images."""
    np.save(folder / f"{extractor}-{split}-features.npy", features.features.numpy())
    np.save(folder / f"{extractor}-{split}-logits.npy", features.logits.numpy())


def read_reference(folder: Path, extractor: str, split: str) -> Features:
    """Read what `write_reference` kept.

    Raises:
        UserError: it is not there.
    """
    try:
        arrays = [
            torch.from_numpy(np.load(folder / f"{extractor}-{split}-{part}.npy"))
            for part in ("features", "logits")
        ]
    except (FileNotFoundError, ValueError):
        raise UserError(
            f"no features of {extractor} in {folder}: run dvc repro features@{folder.name}"
        ) from None
    return Features(*arrays)
