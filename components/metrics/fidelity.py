"""Fidelity of generated images, from features already computed: torch-fidelity's metrics.

In every function ``generated`` comes before ``real`` (torch-fidelity's input 1 and input 2), and
features are those of :func:`components.metrics.extractors.extract_features`. The metrics are those
of chapters 3-6 of the dissertation; only the Fréchet distance between Inception-v3 features is the
FID: see :func:`frechet_key`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any, NamedTuple

from torch import Tensor
from torch_fidelity.metric_fid import (
    KEY_METRIC_FID,
    fid_features_to_statistics,
    fid_statistics_to_metric,
)
from torch_fidelity.metric_isc import (
    KEY_METRIC_ISC_MEAN,
    KEY_METRIC_ISC_STD,
    isc_features_to_metric,
)
from torch_fidelity.metric_kid import (
    KEY_METRIC_KID_MEAN,
    KEY_METRIC_KID_STD,
    kid_features_to_metric,
)
from torch_fidelity.metric_prc import (
    KEY_METRIC_PRECISION,
    KEY_METRIC_RECALL,
    prc_features_to_metric,
)

from components.errors import UserError
from components.metrics.extractors import INCEPTION, Features

KID_SUBSETS = 100
KID_SUBSET_SIZE = 1000
SCORE_SPLITS = 10
# Precision and recall take three matrices of all distances, for each draw: with 10,000 images a
# side they cost more than all else that judges them, and the fourth of that with half of them.
MANIFOLD_COUNT = 5000
# Rows of the distance matrix held at once: 2,000 × 10,000 float32 are 80 MB, the whole is 400.
DISTANCE_ROWS = 2000


class Spread(NamedTuple):
    """A mean and a standard deviation, over the subsets or splits that the function names."""

    mean: float
    std: float


class PrecisionRecall(NamedTuple):
    """Precision and recall, each in [0, 1]."""

    precision: float
    recall: float


def frechet_distance(generated: Tensor, real: Tensor) -> float:
    """Squared Fréchet distance between Gaussians fitted to the features.

    ``|μ₁ - μ₂|² + tr(Σ₁ + Σ₂ - 2 (Σ₁ Σ₂)^½)`` (Heusel et al. 2017, arXiv:1706.08500, equation 6;
    chapter 1.2.4 of the dissertation), in double precision. With finite samples it is biased
    upwards, the more the fewer: compare only numbers of equal counts.

    Args:
        generated: N×F, N >= 2.
        real: M×F, M >= 2.

    Returns:
        The distance, >= 0 up to rounding, in squared units of the features.

    Raises:
        UserError: fewer than two images on a side.
    """
    return _frechet(_moments(generated), _moments(real))


def kid(
    generated: Tensor,
    real: Tensor,
    seed: int,
    subsets: int = KID_SUBSETS,
    subset_size: int = KID_SUBSET_SIZE,
) -> Spread:
    """Kernel distance: squared MMD with the kernel ``(x·y / F + 1)³``, averaged over subsets.

    Bińkowski et al. 2018, arXiv:1801.01401. The estimator is unbiased: small negative values are
    right when the two laws are close.

    Args:
        generated: N×F.
        real: M×F.
        seed: of the random subsets.
        subsets: number of subsets drawn from each side, each without replacement.
        subset_size: features a subset; clipped to min(N, M), so that small sets can be judged.

    Returns:
        Mean over the subsets and standard deviation between them.

    Raises:
        UserError: fewer than two images on a side.
    """
    _require(2, generated, real)
    result = kid_features_to_metric(
        generated,
        real,
        kid_subsets=subsets,
        kid_subset_size=min(subset_size, len(generated), len(real)),
        rng_seed=seed,
        verbose=False,
    )
    return Spread(result[KEY_METRIC_KID_MEAN], result[KEY_METRIC_KID_STD])


def inception_like_score(logits: Tensor, seed: int) -> Spread:
    """Inception score, ``exp E KL(p(y|x) ‖ p(y))``, under any classifier's logits.

    Salimans et al. 2016, arXiv:1606.03498. It is *the* Inception score only with the logits of
    ``inception-v3-compat``; with others it compares like with like.

    Args:
        logits: N×K of the generated images, N >= 10.
        seed: of the shuffle before splitting.

    Returns:
        Mean and standard deviation over 10 splits, between 1 and K.

    Raises:
        UserError: fewer than 10 images.
    """
    _require(SCORE_SPLITS, logits)
    result = isc_features_to_metric(logits, splits=SCORE_SPLITS, shuffle=True, rng_seed=seed)
    return Spread(result[KEY_METRIC_ISC_MEAN], result[KEY_METRIC_ISC_STD])


def precision_recall(generated: Tensor, real: Tensor, k: int = 3) -> PrecisionRecall:
    """Improved precision and recall (Kynkäänniemi et al. 2019, arXiv:1904.06991).

    Precision is the fraction of generated features within the real ones' manifold, the union of
    balls that reach from each feature to its k-th neighbour; recall is the converse.

    Args:
        generated: N×F, N > k.
        real: M×F, M > k. Balls shrink as counts grow: compare only numbers of equal counts.
        k: the neighbour that gives a ball its radius.

    Returns:
        Precision (fidelity) and recall (diversity).

    Raises:
        UserError: k or fewer images on a side.
    """
    _require(k + 1, generated, real)
    result = prc_features_to_metric(
        generated,
        real,
        prc_neighborhood=k,
        prc_batch_size=DISTANCE_ROWS,
        save_cpu_ram=True,
        verbose=False,
    )
    return PrecisionRecall(result[KEY_METRIC_PRECISION], result[KEY_METRIC_RECALL])


def frechet_key(extractor: str) -> str:
    """Name of the Fréchet distance on an extractor's features.

    >>> frechet_key("inception-v3-compat"), frechet_key("imagenet")
    ('fid', 'frechet_imagenet')
    """
    return "fid" if extractor == INCEPTION else f"frechet_{extractor}"


@dataclass(frozen=True)
class FidelityReport:
    """All metrics of this module over several independent draws of generated images.

    Attributes:
        values: metric key → its value in each draw.
        floor: key and value of the Fréchet distance that real images of the training set have to
            the real images of the test set; ``None`` if not asked for.
    """

    values: dict[str, tuple[float, ...]]
    floor: tuple[str, float] | None

    def flat(self) -> dict[str, float]:
        """Means under their keys, standard deviations over draws under ``<key>_std``.

        The deviation is the sample's (n - 1); of a single draw there is none, and no such key.
        """
        result = {key: fmean(values) for key, values in self.values.items()}
        for key, values in self.values.items():
            if len(values) > 1:
                result[f"{key}_std"] = stdev(values)
        return result if self.floor is None else result | dict([self.floor])


def judge_fidelity(
    extractor: str,
    draws: Sequence[Features],
    real: Features,
    seed: int,
    train: Features | None = None,
) -> FidelityReport:
    """Judge draws of generated images against real ones.

    Args:
        extractor: name of the extractor that made all the features; the metrics' keys end in it:
            ``frechet_<extractor>`` (``fid`` for Inception), ``kid_<extractor>``,
            ``is_<extractor>``, ``precision_<extractor>``, ``recall_<extractor>``. Precision and
            recall are of the first 5,000 images a side.
        draws: one or more sets of generated images, of N images each.
        real: the reference: images of the test set.
        seed: of KID's subsets and of the score's splits, the same in every draw.
        train: images of the training set, at least N; the first N of them give the floor, the
            distance of a generator that only repeats the training set:
            ``frechet_<extractor>_floor``.

    Returns:
        The values of every draw; :meth:`FidelityReport.flat` for means and deviations.

    Raises:
        UserError: draws of unequal counts, or too few images for a metric or for the floor.
    """
    count = len(draws[0].features)
    if any(len(draw.features) != count for draw in draws):
        counts = ", ".join(str(len(draw.features)) for draw in draws)
        raise UserError(f"draws must have one count of images to be compared, not {counts}")
    distance, real_moments = frechet_key(extractor), _moments(real.features)
    rows = []
    for draw in draws:
        precision, recall = precision_recall(
            draw.features[:MANIFOLD_COUNT], real.features[:MANIFOLD_COUNT]
        )
        rows.append(
            {
                distance: _frechet(_moments(draw.features), real_moments),
                f"kid_{extractor}": kid(draw.features, real.features, seed).mean,
                f"is_{extractor}": inception_like_score(draw.logits, seed).mean,
                f"precision_{extractor}": precision,
                f"recall_{extractor}": recall,
            }
        )
    floor = None
    if train is not None:
        if len(train.features) < count:
            raise UserError(
                f"the floor of {distance} needs as many training images as are generated,"
                f" {count}; there are {len(train.features)}"
            )
        floor = (f"{distance}_floor", _frechet(_moments(train.features[:count]), real_moments))
    return FidelityReport({key: tuple(row[key] for row in rows) for key in rows[0]}, floor)


def _moments(features: Tensor) -> dict[str, Any]:
    _require(2, features)
    # In single precision, numpy's mean over the rows loses digits that the distance shows.
    return fid_features_to_statistics(features.double())


def _frechet(generated: dict[str, Any], real: dict[str, Any]) -> float:
    return fid_statistics_to_metric(generated, real, verbose=False)[KEY_METRIC_FID]


def _require(count: int, *sets: Tensor) -> None:
    smallest = min(len(features) for features in sets)
    if smallest < count:
        raise UserError(f"this metric needs at least {count} images, there are {smallest}")
