"""Precision and recall of distributions: what is drawn well, and what is left out.

Sajjadi et al. 2018, https://arxiv.org/abs/1806.00035; Table 3.3 of the dissertation. The features
of real and generated images are clustered together; the two histograms over the clusters give a
curve of attainable precision against recall, and F₈ and F₁/₈ sum it up. Not to be mistaken for the
improved precision and recall of :func:`components.metrics.fidelity.precision_recall`, which judges
manifolds instead of distributions.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.cluster import MiniBatchKMeans
from torch import Tensor

from components.errors import UserError

ANGLES = 1001
CLUSTERS = 20
RUNS = 10
BETA = 8.0
# Angles end so far from the axes, where the slope would be 0 or infinite.
MARGIN = 1e-10
# Starts of one clustering, of which the best is kept: runs are averaged anyway.
STARTS = 3


class PRCurve(NamedTuple):
    """Attainable pairs of precision and recall, one an angle, each in [0, 1]."""

    precision: NDArray[np.float64]
    recall: NDArray[np.float64]


class FScores(NamedTuple):
    """Highest F-scores on a curve, each in [0, 1].

    Attributes:
        f8: F₈, which weighs recall 8 times as heavily: diversity.
        f1_8: F₁/₈, which weighs precision as heavily: quality.
    """

    f8: float
    f1_8: float


def pr_curve(generated: ArrayLike, real: ArrayLike, angles: int = ANGLES) -> PRCurve:
    """Precision and recall of one histogram with respect to another.

    ``α(λ) = Σ min(λ pᵢ, qᵢ)`` is precision and ``β(λ) = α(λ) / λ`` recall, p the real and q the
    generated shares, at slopes λ = tan θ of angles evenly spaced in (0, π/2) (section 3 of
    https://arxiv.org/abs/1806.00035).

    Args:
        generated: q, K shares or counts, >= 0, with a positive sum.
        real: p, likewise.
        angles: points of the curve.

    Returns:
        The curve, from recall to precision.

    >>> curve = pr_curve([1, 0], [0, 1])
    >>> float(curve.precision.max()), float(curve.recall.max())
    (0.0, 0.0)
    """
    q, p = (np.asarray(side, dtype=np.float64) for side in (generated, real))
    q, p = q / q.sum(), p / p.sum()
    slopes = np.tan(np.linspace(MARGIN, np.pi / 2 - MARGIN, angles))
    precision = np.minimum(slopes[:, None] * p, q).sum(axis=1)
    # Rounding would let a share of all exceed it.
    return PRCurve(np.clip(precision, 0.0, 1.0), np.clip(precision / slopes, 0.0, 1.0))


def f_scores(curve: PRCurve, beta: float = BETA) -> FScores:
    """The greatest F-scores of the curve's points (arXiv:1806.00035, section 4).

    ``F_b = (1 + b²) α β / (b² α + β)`` at b = beta and b = 1 / beta.

    >>> scores = f_scores(pr_curve([1, 1], [1, 1]))
    >>> round(scores.f8, 9), round(scores.f1_8, 9)
    (1.0, 1.0)
    """
    return FScores(_greatest(curve, beta), _greatest(curve, 1.0 / beta))


def precision_recall_of_distributions(
    generated: Tensor,
    real: Tensor,
    seed: int,
    clusters: int = CLUSTERS,
    runs: int = RUNS,
) -> FScores:
    """F₈ and F₁/₈ of generated features with respect to real ones.

    k-means on both sets together gives the histograms; the curves of several clusterings are
    averaged before the scores are taken. Sets of different sizes are cut to the smaller one's, so
    that neither has more say in where clusters lie.

    Args:
        generated: N×F, on the CPU.
        real: M×F, on the CPU.
        seed: of the clusterings.
        clusters: of one clustering (K).
        runs: clusterings.

    Returns:
        The scores of the mean curve.

    Raises:
        UserError: fewer images on a side than clusters.
    """
    count = min(len(generated), len(real))
    if count < clusters:
        raise UserError(
            f"{clusters} clusters need as many images on each side, there are {count}: "
            "lower precision_recall.clusters"
        )
    joint = np.concatenate([generated[:count].numpy(), real[:count].numpy()])
    curves = [_clustered(joint, count, clusters, seed + run) for run in range(runs)]
    precision, recall = (np.mean(parts, axis=0) for parts in zip(*curves, strict=True))
    return f_scores(PRCurve(precision, recall))


def _clustered(joint: NDArray[np.float32], count: int, clusters: int, seed: int) -> PRCurve:
    """The curve of one clustering; the first ``count`` rows are the generated ones."""
    labels = MiniBatchKMeans(clusters, n_init=STARTS, random_state=seed).fit_predict(joint)
    generated, real = (
        np.bincount(side, minlength=clusters) for side in (labels[:count], labels[count:])
    )
    return pr_curve(generated, real)


def _greatest(curve: PRCurve, beta: float) -> float:
    weight = beta * beta
    # Where both are 0 the score is 0 too: the smallest number above 0 keeps it from being 0 / 0.
    below = np.maximum(weight * curve.precision + curve.recall, np.finfo(np.float64).tiny)
    return float(((1.0 + weight) * curve.precision * curve.recall / below).max())
