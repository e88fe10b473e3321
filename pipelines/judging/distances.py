"""How far draws of images are from the test images, by each extractor of the data set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from components.metrics.extractors import CLASSIFIER, Classifier, Features, extract_features
from components.metrics.fidelity import MANIFOLD_COUNT, judge_fidelity
from components.metrics.precision_recall import FScores, precision_recall_of_distributions
from components.models.export import load_model
from pipelines.judging.references import Extracting, load_extractors, read_reference
from pipelines.runtime.progress import ProgressDisplay
from pipelines.runtime.settings import DistributionRecall

SEED = 0
ROWS = 500


def read_draws(samples: Path) -> list[Tensor]:
    """The draws that the sample stage left: uint8, N×C×H×W each."""
    return [torch.from_numpy(np.load(file)) for file in sorted(samples.glob("draw-*.npy"))]


def judge_distances(
    draws: Sequence[Tensor],
    data: str,
    settings: Extracting,
    device: torch.device,
    recall: DistributionRecall | None = None,
) -> dict[str, Any]:
    """All distances of draws, features computed once for each draw.

    Args:
        draws: uint8, N×C×H×W each.
        data: name of the data set, whose features stage has run.
        settings: name the extractors that judge.
        device: of the extractors.
        recall: settings of the precision and recall of distributions; None: not asked for.

    Returns:
        Flat figures; see `components.metrics.fidelity.judge_fidelity` and `f_figures`.
    """
    folder = Path("models/features") / data
    asked = CLASSIFIER in settings.extractors
    own = cast(Classifier, load_model(folder, device)) if asked else None
    extractors = load_extractors(settings, own, device)
    display, done, count = ProgressDisplay("features", "draws"), 0, len(draws[0])
    figures: dict[str, Any] = {
        "count": count,
        "draws": len(draws),
        "manifold_count": min(count, MANIFOLD_COUNT),
    }
    for name, extractor in extractors.items():
        found = []
        for draw in draws:
            found.append(extract_features(draw, extractor, ROWS))
            done += 1
            display.show(done, len(draws) * len(extractors), name)
        real, train = (read_reference(folder, name, split) for split in ("test", "train"))
        figures |= judge_fidelity(name, found, real, SEED, train).flat()
        if recall is not None:
            figures |= f_figures(name, found, real, train, recall)
    display.close()
    return figures


def f_figures(
    extractor: str,
    draws: Sequence[Features],
    real: Features,
    train: Features,
    settings: DistributionRecall,
) -> dict[str, float]:
    """F₈ and F₁/₈ of draws against test images: mean, deviation, and the training images' own.

    Returns:
        ``f8_EXTRACTOR`` (recall), ``f1_8_EXTRACTOR`` (precision), ``KEY_std`` over draws, and
        ``KEY_ceiling``: what as many training images reach, where real images differ by chance
        alone.
    """

    def scores(features: Tensor) -> FScores:
        return precision_recall_of_distributions(
            features, real.features, SEED, settings.clusters, settings.runs
        )

    found = [scores(draw.features) for draw in draws]
    ceiling = scores(train.features[: len(draws[0].features)])
    figures: dict[str, float] = {}
    for field in FScores._fields:
        key, values = f"{field}_{extractor}", [getattr(each, field) for each in found]
        figures |= {key: fmean(values), f"{key}_ceiling": getattr(ceiling, field)}
        if len(values) > 1:
            figures[f"{key}_std"] = stdev(values)
    return figures
