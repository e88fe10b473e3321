from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch_fidelity
from torch import Tensor, nn
from torch.utils.data import Dataset

from components.errors import UserError
from components.metrics.extractors import Features, extract_features, load_extractor
from components.metrics.fidelity import (
    frechet_distance,
    inception_like_score,
    judge_fidelity,
    kid,
    precision_recall,
)


def gaussian(seed: int, count: int, size: int) -> Tensor:
    return torch.randn(count, size, generator=torch.Generator().manual_seed(seed))


def with_moments(mean: Tensor, covariance: Tensor, count: int, seed: int) -> Tensor:
    """Features whose sample mean and sample covariance are exactly the given ones."""
    x = gaussian(seed, count, len(mean)).double()
    x = x - x.mean(dim=0)
    whitening = torch.linalg.inv(torch.linalg.cholesky(x.T.cov())).T
    return x @ whitening @ torch.linalg.cholesky(covariance).T + mean


def random_covariance(seed: int, size: int) -> Tensor:
    root = gaussian(seed, size, size).double()
    return root @ root.T + 0.1 * torch.eye(size, dtype=torch.float64)


def symmetric_root(matrix: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    return vectors * values.clamp_min(0).sqrt() @ vectors.T


class TestFrechetDistance:
    def test_isotropic_gaussians(self) -> None:
        # |μ₁ - μ₂|² + F (σ₁ - σ₂)² = 3² + 4² + 2 (2 - 0.5)² = 29.5
        eye = torch.eye(2, dtype=torch.float64)
        zero = torch.zeros(2, dtype=torch.float64)
        generated = with_moments(torch.tensor([3.0, 4.0]).double(), 4.0 * eye, 50, seed=0)
        real = with_moments(zero, 0.25 * eye, 70, seed=1)
        assert frechet_distance(generated, real) == pytest.approx(29.5, abs=1e-9)

    def test_covariances_that_do_not_commute(self) -> None:
        first, second = random_covariance(0, 6), random_covariance(1, 6)
        shift = gaussian(2, 1, 6)[0].double()
        root = symmetric_root(first)
        cross = symmetric_root(root @ second @ root).trace()
        expected = shift.square().sum() + first.trace() + second.trace() - 2 * cross
        generated = with_moments(shift, first, 40, seed=3)
        real = with_moments(torch.zeros(6, dtype=torch.float64), second, 40, seed=4)
        assert frechet_distance(generated, real) == pytest.approx(expected.item(), rel=1e-9)

    def test_zero_from_a_set_to_itself(self) -> None:
        x = gaussian(0, 100, 8)
        assert frechet_distance(x, x) == pytest.approx(0.0, abs=1e-6)

    def test_fewer_images_than_features(self) -> None:
        # Singular covariances: the products' eigenvalues round to either side of zero.
        x = gaussian(0, 20, 64)
        assert frechet_distance(x, x) == pytest.approx(0.0, abs=1e-3)
        assert frechet_distance(x + 1.0, x) == pytest.approx(64.0, rel=1e-4)

    def test_one_image_is_too_few(self) -> None:
        with pytest.raises(UserError, match="at least 2 images, there are 1"):
            frechet_distance(gaussian(0, 1, 4), gaussian(0, 9, 4))


class TestKID:
    def test_whole_set_against_the_estimator_written_out(self) -> None:
        x, y = gaussian(0, 30, 5).double(), gaussian(1, 30, 5).double() + 0.5
        kernel = [((a @ b.T) / 5 + 1) ** 3 for a, b in ((x, x), (y, y), (x, y))]
        pairs = 30 * 29
        within = sum((k.sum() - k.trace()) / pairs for k in kernel[:2])
        expected = within - 2 * kernel[2].mean()
        result = kid(x, y, seed=0, subsets=3)
        assert result.mean == pytest.approx(expected.item(), rel=1e-9)
        assert result.std == pytest.approx(0.0, abs=1e-9)

    def test_zero_mean_on_one_law(self) -> None:
        x, y = gaussian(0, 20_000, 8), gaussian(1, 20_000, 8)
        result = kid(x, y, seed=0, subsets=400, subset_size=50)
        assert abs(result.mean) < 4 * result.std / math.sqrt(400)
        shifted = kid(x + 0.3, y, seed=0, subsets=400, subset_size=50)
        assert shifted.mean > 4 * shifted.std / math.sqrt(400)

    def test_seed_decides_the_subsets(self) -> None:
        x, y = gaussian(0, 60, 4), gaussian(1, 60, 4)
        first, again, other = (kid(x, y, seed=s, subsets=5, subset_size=20) for s in (0, 0, 1))
        assert first == again != other


class TestInceptionLikeScore:
    def test_one_when_the_logits_say_nothing(self) -> None:
        assert inception_like_score(torch.ones(100, 7), seed=0) == pytest.approx((1.0, 0.0))

    def test_number_of_classes_when_certain_and_balanced(self) -> None:
        logits = 100.0 * torch.eye(10).repeat(1000, 1)
        score = inception_like_score(logits, seed=0)
        assert score.mean == pytest.approx(10.0, rel=0.01)
        assert score.mean < 10.0

    def test_too_few_images_to_split(self) -> None:
        with pytest.raises(UserError, match="at least 10 images, there are 9"):
            inception_like_score(torch.ones(9, 7), seed=0)


class TestPrecisionRecall:
    def test_identical_sets(self) -> None:
        x = gaussian(0, 100, 4)
        assert precision_recall(x, x) == (1.0, 1.0)

    def test_disjoint_sets(self) -> None:
        assert precision_recall(gaussian(0, 100, 4), gaussian(1, 100, 4) + 100) == (0.0, 0.0)

    def test_a_generator_that_forgets_a_mode_is_precise_but_lacks_recall(self) -> None:
        cluster = gaussian(0, 100, 4)
        real = torch.cat([cluster, cluster + 100])
        assert precision_recall(cluster, real) == (1.0, 0.5)
        assert precision_recall(real, cluster) == (0.5, 1.0)

    def test_radius_reaches_the_kth_neighbour(self) -> None:
        # The real point 0 has its neighbours at 1, 2 and 4; no other ball reaches to -3.
        real = torch.tensor([[0.0], [1.0], [2.0], [4.0]])
        generated = torch.tensor([[-3.0], [-3.0], [-3.0], [-3.0], [-5.0]])
        assert precision_recall(generated, real, k=2).precision == 0.0
        assert precision_recall(generated, real, k=3).precision == pytest.approx(0.8)

    def test_more_rows_than_one_block(self, monkeypatch: pytest.MonkeyPatch) -> None:
        x, y = gaussian(0, 90, 3), gaussian(1, 70, 3)
        whole = precision_recall(x, y)
        monkeypatch.setattr("components.metrics.fidelity.DISTANCE_ROWS", 16)
        assert precision_recall(x, y) == whole

    def test_k_neighbours_must_exist(self) -> None:
        with pytest.raises(UserError, match="at least 4 images, there are 3"):
            precision_recall(gaussian(0, 3, 2), gaussian(1, 9, 2))


def features(seed: int, count: int = 40) -> Features:
    return Features(gaussian(seed, count, 4), gaussian(seed + 100, count, 3))


class TestReport:
    def test_means_and_deviations_over_draws(self) -> None:
        real, draws = features(0), [features(1), features(2), features(3)]
        flat = judge_fidelity("imagenet", draws, real, seed=0, train=features(4, 90)).flat()
        each = [frechet_distance(draw.features, real.features) for draw in draws]
        assert flat["frechet_imagenet"] == pytest.approx(np.mean(each))
        assert flat["frechet_imagenet_std"] == pytest.approx(np.std(each, ddof=1))
        floor = frechet_distance(features(4, 90).features[:40], real.features)
        assert flat["frechet_imagenet_floor"] == pytest.approx(floor)
        names = {f"{m}_imagenet" for m in ("frechet", "kid", "is", "precision", "recall")}
        assert set(flat) == names | {f"{m}_std" for m in names} | {"frechet_imagenet_floor"}

    def test_a_single_draw_has_no_deviation(self) -> None:
        flat = judge_fidelity("classifier", [features(1)], features(0), seed=0).flat()
        assert len(flat) == 5 and not any(key.endswith("_std") for key in flat)

    def test_only_inception_s_distance_is_called_fid(self) -> None:
        report = judge_fidelity(
            "inception-v3-compat", [features(1)], features(0), seed=0, train=features(2)
        )
        assert {"fid", "fid_floor", "kid_inception-v3-compat"} <= set(report.flat())

    def test_draws_of_unequal_counts_are_refused(self) -> None:
        with pytest.raises(UserError, match="not 40, 41"):
            judge_fidelity("imagenet", [features(1), features(2, 41)], features(0), seed=0)

    def test_a_floor_needs_as_many_training_images(self) -> None:
        with pytest.raises(UserError, match="floor of frechet_imagenet needs as many"):
            judge_fidelity("imagenet", [features(1)], features(0), seed=0, train=features(2, 39))


class ImagesOfTorchFidelity(Dataset[Tensor]):
    def __init__(self, images: Tensor) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        return self.images[index]


def test_the_same_numbers_as_torch_fidelity_from_images(
    classifier: nn.Module, images: Tensor, capfd: pytest.CaptureFixture[str]
) -> None:
    generated, real = images[:30], images[30:]
    extractor = load_extractor("classifier", classifier=classifier)
    draw, reference = (extract_features(x, extractor, 8) for x in (generated, real))
    ours = judge_fidelity("classifier", [draw], reference, seed=7).flat()
    assert capfd.readouterr() == ("", "")
    theirs = torch_fidelity.calculate_metrics(
        input1=ImagesOfTorchFidelity(generated),
        input2=ImagesOfTorchFidelity(real),
        feature_extractor="classifier",
        classifier=classifier,
        fid=True,
        kid=True,
        isc=True,
        prc=True,
        kid_subset_size=30,
        rng_seed=7,
        cuda=False,
        cache=False,
        save_cpu_ram=True,
        verbose=False,
    )
    expected = {
        "frechet_classifier": theirs["frechet_inception_distance"],
        "kid_classifier": theirs["kernel_inception_distance_mean"],
        "is_classifier": theirs["inception_score_mean"],
        "precision_classifier": theirs["precision"],
        "recall_classifier": theirs["recall"],
    }
    assert ours == pytest.approx(expected, rel=1e-4, abs=1e-6)
