"""Precision and recall of distributions on cases whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from components.errors import UserError
from components.metrics.precision_recall import (
    f_scores,
    pr_curve,
    precision_recall_of_distributions,
)


def corner(precision: float, recall: float) -> tuple[float, float]:
    """F₈ and F₁/₈ of one pair: of a curve under a rectangle, its corner's are the greatest."""
    return tuple(
        (1 + w) * precision * recall / (w * precision + recall) for w in (64.0, 1.0 / 64.0)
    )


def modes(*which: int, count: int = 600, seed: int = 0) -> Tensor:
    """Points about corners of a large cube, equally many each: clusters no k-means can mistake."""
    generator = torch.Generator().manual_seed(seed)
    centres = 100.0 * torch.eye(8)[list(which)]
    return centres.repeat(count // len(which), 1) + 0.01 * torch.randn(
        count // len(which) * len(which), 8, generator=generator
    )


@pytest.mark.parametrize(
    ("generated", "real", "precision", "recall"),
    [
        ([1, 1, 1, 1], [1, 1, 1, 1], 1.0, 1.0),
        ([1, 1, 0, 0], [1, 1, 1, 1], 1.0, 0.5),  # modes dropped
        ([1, 1, 1, 1], [1, 1, 0, 0], 0.5, 1.0),  # modes invented
        ([0, 1, 1, 0], [1, 1, 0, 0], 0.5, 0.5),  # one of each
        ([0, 0, 3, 1], [5, 1, 0, 0], 0.0, 0.0),
    ],
)
def test_histograms_whose_curve_is_a_rectangle(
    generated: list[int], real: list[int], precision: float, recall: float
) -> None:
    curve = pr_curve(generated, real)
    assert curve.precision.max() == pytest.approx(precision)
    assert curve.recall.max() == pytest.approx(recall)
    expected = corner(precision, recall) if precision else (0.0, 0.0)
    # The corner lies between two of the 1001 angles.
    assert f_scores(curve) == pytest.approx(expected, abs=2e-3)


def test_a_curve_in_closed_form() -> None:
    # p = (¾, ¼) and q = (¼, ¾): α(λ) = λ below ⅓, (1 + λ) / 4 up to 3, 1 from there on.
    curve = pr_curve([1, 3], [3, 1], angles=41)
    slope = np.tan(np.linspace(1e-10, np.pi / 2 - 1e-10, 41))
    alpha = np.minimum(np.minimum(slope, (1 + slope) / 4), 1.0)
    np.testing.assert_allclose(curve.precision, alpha)
    np.testing.assert_allclose(curve.recall, np.minimum(alpha / slope, 1.0))


def test_swapping_the_sides_swaps_precision_and_recall() -> None:
    one, other = [5, 1, 3, 0], [1, 2, 2, 4]
    there, back = f_scores(pr_curve(one, other)), f_scores(pr_curve(other, one))
    assert there.f8 != pytest.approx(there.f1_8, abs=0.01)
    assert there == pytest.approx(back[::-1])


def test_a_set_against_itself() -> None:
    features = torch.randn(400, 8, generator=torch.Generator().manual_seed(0))
    assert precision_recall_of_distributions(features, features, seed=0) == pytest.approx((1, 1))


def test_draws_from_one_law() -> None:
    scores = precision_recall_of_distributions(modes(0, 1), modes(0, 1, seed=1), 0, clusters=2)
    assert scores == pytest.approx((1, 1))


def test_sets_far_apart() -> None:
    scores = precision_recall_of_distributions(modes(0, 1), modes(2, 3), 0, clusters=4)
    assert scores == pytest.approx((0, 0))


def test_dropped_modes_lower_recall_alone() -> None:
    scores = precision_recall_of_distributions(modes(0), modes(0, 1, 2, 3), seed=0, clusters=4)
    assert scores == pytest.approx(corner(1.0, 0.25), abs=2e-3)
    assert scores.f1_8 > 0.95


def test_invented_modes_lower_precision_alone() -> None:
    scores = precision_recall_of_distributions(modes(0, 1, 2, 3), modes(0), seed=0, clusters=4)
    assert scores == pytest.approx(corner(0.25, 1.0), abs=2e-3)
    assert scores.f8 > 0.95


def test_the_seed_alone_decides() -> None:
    one, other = (torch.randn(300, 4, generator=torch.Generator().manual_seed(i)) for i in (0, 1))
    first, again, third = (
        precision_recall_of_distributions(one, other, seed, runs=2) for seed in (0, 0, 7)
    )
    assert first == again
    assert first != third


def test_the_larger_set_is_cut() -> None:
    real = modes(0, 1)
    # What lies beyond the generated count would be a third of the real side.
    more = torch.cat([real, modes(2, count=300)])
    scores = precision_recall_of_distributions(modes(0, 1, seed=1), more, seed=0, clusters=2)
    assert scores == pytest.approx((1, 1))


def test_too_few_images_are_named() -> None:
    with pytest.raises(UserError, match=r"20 clusters need .* there are 10"):
        precision_recall_of_distributions(torch.zeros(10, 2), torch.zeros(50, 2), seed=0)
