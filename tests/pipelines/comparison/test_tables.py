"""Verdicts, changes, and what is put beside what."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from components.errors import UserError
from pipelines.comparison.inputs import Pair, read_pair
from pipelines.comparison.measures import measure_of
from pipelines.comparison.pictures import densities
from pipelines.comparison.tables import costs, detections, headline, numbers, principal


@pytest.fixture
def pair(site) -> Pair:
    return read_pair("toy", site.params.compare["toy"], site.params)


def judged(pair: Pair, base: dict[str, Any], composition: dict[str, Any]) -> Pair:
    return replace(
        pair,
        base=replace(pair.base, figures=base),
        composition=replace(pair.composition, figures=composition),
        paper={},
    )


@pytest.mark.parametrize(
    ("key", "base", "composition", "deviation", "verdict"),
    [
        ("frechet_imagenet", 10.0, 8.0, 0.1, "better"),
        ("frechet_imagenet", 8.0, 10.0, 0.1, "worse"),
        ("recall_imagenet", 0.5, 0.6, 0.01, "better"),
        ("recall_imagenet", 0.6, 0.5, 0.01, "worse"),
        ("frechet_imagenet", 10.0, 9.75, 0.1, "within noise"),
        ("frechet_imagenet", 10.0, 9.70, 0.1, "better"),
    ],
)
def test_a_difference_counts_from_two_joint_deviations(
    pair: Pair, key: str, base: float, composition: float, deviation: float, verdict: str
) -> None:
    """The joint deviation of two of 0.1 is 0.141: 0.25 is less than twice that, 0.30 more."""
    noise = {f"{key}_std": deviation}
    (row,) = headline(judged(pair, {key: base, **noise}, {key: composition, **noise}))
    assert row.verdict == verdict


def test_rows_come_in_a_fixed_order_and_deviations_are_no_rows(pair: Pair) -> None:
    figures = {
        "recall_x": 0.5,
        "kid_x": 0.1,
        "kid_x_std": 0.01,
        "frechet_x": 3.0,
        "frechet_x_floor": 1.0,
        "nfe": 15,
        "auroc_y": 0.9,
    }
    rows = headline(judged(pair, figures, figures))
    assert [row.key for row in rows] == ["frechet_x", "kid_x", "recall_x"]
    assert rows[0].reference == "floor 1.00"


def test_a_figure_of_one_model_alone_has_no_change(pair: Pair) -> None:
    (row,) = headline(judged(pair, {}, {"mode_kl": 0.1}))
    assert (row.base, row.change, row.verdict) == ("–", "–", "")


def test_equal_values_are_the_same_and_not_noise(pair: Pair) -> None:
    (row,) = headline(judged(pair, {"modes": 25.0}, {"modes": 25.0}))
    assert (row.change, row.verdict) == ("+0.0", "the same")


@pytest.mark.parametrize(
    ("key", "value", "deviation", "shown"),
    [
        ("kid_x", 31.26812, 0.1428, "31.27 ± 0.14"),
        ("kid_x", 0.01969, 4e-5, "0.01969 ± 0.00004"),
        ("frechet_x", 9.987, 0.014, "9.99 ± 0.01"),
        ("frechet_x", 12345.6, 7.0, "12346 ± 7"),
    ],
)
def test_large_values_are_shown_to_four_figures(
    key: str, value: float, deviation: float, shown: str
) -> None:
    assert measure_of(key).show(value, deviation) == shown


def test_densities_share_one_picture_and_so_one_scale(pair: Pair) -> None:
    assert len(densities(pair)) == 1


def test_no_ratio_to_nothing(pair: Pair) -> None:
    found = judged(pair, {"kid_x": 0.0}, {"kid_x": 0.1})
    assert headline(found)[0].change == "–"
    assert numbers(found) == {}


def test_the_papers_figures_stand_beside_ours(pair: Pair) -> None:
    row = headline(pair)[0]
    assert (row.key, row.paper, row.paper_change) == (
        "log_likelihood",
        "−2.970 → −1.500",
        "+1.470, truth −1.100",
    )
    assert row.reference == "truth −1.098"
    own, papers = principal(pair)
    assert own == papers == row


def test_a_paper_key_without_a_role_is_refused(pair: Pair) -> None:
    with pytest.raises(UserError, match=r"comparison toy: paper\.fid: begin the key with base_"):
        headline(replace(pair, paper={"fid": 57.1}))


def test_models_without_a_common_figure_cannot_be_compared(pair: Pair) -> None:
    with pytest.raises(UserError, match="no figure that both models have"):
        principal(judged(pair, {"nfe": 1}, {"nfe": 2}))


def test_detection_lists_all_sets_of_both_models(pair: Pair) -> None:
    base = {"auroc_mnist": 0.25, "aupr_mnist": 0.3, "ood_count": 1500}
    composition = {**base, "auroc_mnist": 0.75, "fpr95_mnist": 0.5, "auroc_constant": 1.0}
    constant, mnist = detections(judged(pair, base, composition))
    assert (constant.name, constant.auroc) == ("constant", ("–", "1.000"))
    assert (mnist.auroc, mnist.fpr95, mnist.count) == (("0.250", "0.750"), ("–", "0.500"), "1,500")


def test_costs_leave_out_what_neither_has(pair: Pair) -> None:
    rows = {title: values for title, *values in costs(pair)}
    assert rows["Network evaluations a sample (NFE)"] == ["1", "15"]
    assert rows["Acceptance rate of a chain"] == ["–", "0.870"]
    silent = replace(pair.composition, sampling={"nfe": 15})
    titles = [title for title, *_ in costs(replace(pair, composition=silent))]
    assert "Acceptance rate of a chain" not in titles


def test_a_comparison_of_strangers_is_refused(site) -> None:
    comparison = site.params.compare["toy"]
    strangers = comparison.model_copy(update={"base": "vae-fashion"})
    with pytest.raises(UserError, match="vaebm-toy is made on vae-toy, not on vae-fashion"):
        read_pair("toy", strangers, site.params)


def test_models_judged_by_different_settings_are_refused(site) -> None:
    other = site.params.evaluate["vae-toy"].model_copy(update={"grid": 7})
    params = site.params.model_copy(update={"evaluate": {**site.params.evaluate, "vae-toy": other}})
    with pytest.raises(UserError, match="judge both by the same settings"):
        read_pair("toy", params.compare["toy"], params)
