from __future__ import annotations

import pytest
import torch
from torch import Tensor

from components.errors import UserError
from components.metrics.ood import ood_scores, probes


class TestScores:
    def test_five_scores_by_hand(self) -> None:
        # Ranked from the top: in 5, out 4, in 3, in 2, out 1.
        result = ood_scores(torch.tensor([2.0, 5.0, 3.0]), torch.tensor([1.0, 4.0]))
        # Of the 6 pairs, in ranks above out in (5: 2) + (3: 1) + (2: 1).
        assert result["auroc"] == pytest.approx(4 / 6)
        # Precision at each in-distribution sample: 1/1, 2/3, 3/4.
        assert result["aupr"] == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)
        # All three accepted means a threshold of 2, which lets 4 in as well.
        assert result["fpr95"] == pytest.approx(1 / 2)
        assert (result["in_count"], result["out_count"]) == (3, 2)

    def test_ninety_five_percent_need_not_be_all(self) -> None:
        # 20 in-distribution scores: 19 of them (95 %) are above every other, the last below all.
        inside = torch.cat([torch.arange(10.0, 29.0), torch.tensor([-10.0])])
        outside = torch.arange(0.0, 4.0)
        assert ood_scores(inside, outside)["fpr95"] == 0.0
        assert ood_scores(inside[1:], outside)["fpr95"] == 1.0

    def test_others_half_way_between(self) -> None:
        # The 95 highest of 0..99 start at 5; the others from 5.5 to 98.5 pass as well.
        inside = torch.arange(100.0)
        assert ood_scores(inside, inside - 0.5)["fpr95"] == pytest.approx(94 / 100)

    def test_the_95_percent_point_on_a_straight_curve(self) -> None:
        # Ties make the curve a diagonal of 20 equal pieces; were its inner points dropped as
        # collinear, only the end at 100 % would be left.
        tied = torch.arange(20.0).repeat_interleave(5)
        assert ood_scores(tied, tied)["fpr95"] == pytest.approx(0.95)

    def test_perfect_and_reversed(self) -> None:
        low, high = torch.arange(5.0), torch.arange(10.0, 15.0)
        perfect, reversed_ = ood_scores(high, low), ood_scores(low, high)
        assert (perfect["auroc"], perfect["aupr"], perfect["fpr95"]) == (1.0, 1.0, 0.0)
        assert (reversed_["auroc"], reversed_["fpr95"]) == (0.0, 1.0)

    def test_ties_count_half(self) -> None:
        result = ood_scores(torch.zeros(30), torch.zeros(10))
        assert result["auroc"] == pytest.approx(0.5)
        assert result["aupr"] == pytest.approx(30 / 40)
        assert result["fpr95"] == 1.0

    def test_close_double_precision_scores_are_told_apart(self) -> None:
        inside = torch.tensor([-1e6 + 1e-4], dtype=torch.float64)
        outside = torch.tensor([-1e6], dtype=torch.float64)
        assert ood_scores(inside, outside)["auroc"] == 1.0

    def test_scores_that_are_not_finite(self) -> None:
        with pytest.raises(UserError, match="1 of 2 scores of the out-of-distribution"):
            ood_scores(torch.zeros(3), torch.tensor([0.0, torch.nan]))

    def test_no_scores(self) -> None:
        with pytest.raises(UserError, match="0 of 0 scores of the in-distribution"):
            ood_scores(torch.zeros(0), torch.zeros(3))


class TestProbes:
    @pytest.fixture
    def levels(self) -> Tensor:
        """8 images, image i constant at 2^i - 1, so that a mean of two names its pair."""
        level = 2 ** torch.arange(8) - 1
        return level.to(torch.uint8)[:, None, None, None].expand(8, 3, 5, 4).contiguous()

    def made(self, images: Tensor, seed: int = 0) -> dict[str, Tensor]:
        return probes(images, torch.Generator().manual_seed(seed))

    def test_names_shapes_and_type(self, levels: Tensor) -> None:
        made = self.made(levels)
        assert list(made) == ["interpolation", "uniform-noise", "constant"]
        for images in made.values():
            assert images.shape == levels.shape and images.dtype == torch.uint8

    @pytest.mark.parametrize("seed", range(5))
    def test_interpolation_means_two_different_images(self, levels: Tensor, seed: int) -> None:
        mixed = self.made(levels, seed)["interpolation"]
        assert (mixed == mixed[:, :1, :1, :1]).all()
        known = levels[:, 0, 0, 0].double()
        means = (known[:, None] + known) / 2
        of_two = means[~torch.eye(8, dtype=torch.bool)]
        offsets = (mixed[:, 0, 0, 0].double()[:, None] - of_two).abs().min(dim=1).values
        assert offsets.max() <= 0.5
        # Each image is used twice, so the mean level is kept.
        assert mixed.double().mean().item() == pytest.approx(known.mean().item(), abs=0.5)

    def test_noise_is_uniform_over_all_levels(self) -> None:
        noise = self.made(torch.zeros(100, 1, 32, 32, dtype=torch.uint8))["uniform-noise"]
        counts = torch.bincount(noise.flatten().long(), minlength=256).double()
        expected = noise.numel() / 256
        chi_squared = ((counts - expected) ** 2 / expected).sum().item()
        assert 255 - 5 * 22.6 < chi_squared < 255 + 5 * 22.6

    def test_constant_images_vary_between_images_and_channels_only(self) -> None:
        constant = self.made(torch.zeros(50, 3, 6, 6, dtype=torch.uint8))["constant"]
        assert (constant == constant[:, :, :1, :1]).all()
        assert constant[:, :, 0, 0].unique().numel() > 50
        assert (constant[:, 0] != constant[:, 1]).any()

    def test_the_generator_decides(self, levels: Tensor) -> None:
        first, again, other = self.made(levels, 0), self.made(levels, 0), self.made(levels, 1)
        assert all(torch.equal(first[name], again[name]) for name in first)
        assert not any(torch.equal(first[name], other[name]) for name in first)
