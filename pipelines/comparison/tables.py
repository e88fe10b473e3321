"""The tables of a comparison, as rows of text, and its figures as numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from components.errors import UserError
from pipelines.comparison.files import Figures
from pipelines.comparison.inputs import Model, Pair
from pipelines.comparison.measures import Measure, headline_keys, measure_of, signed

Verdict = Literal["better", "worse", "within noise", "the same", ""]
ROLES = ("base", "composition", "truth")
NOISE = 2.0
"""Differences below so many joint standard deviations are called noise."""


@dataclass(frozen=True)
class Row:
    """A measure of a base and of its composition, as text.

    Attributes:
        key: of the figure.
        title: of the measure.
        better: which way is better.
        base: the base's value ± its deviation.
        composition: the composition's.
        change: composition against base.
        verdict: whether that is for the better.
        reference: the best that a model could reach: truth, or the floor of real data.
        paper: the dissertation's values, base → composition.
        paper_change: the dissertation's composition against its base, and its truth.
    """

    key: str
    title: str
    better: str
    base: str
    composition: str
    change: str
    verdict: Verdict
    reference: str
    paper: str
    paper_change: str


def headline(pair: Pair) -> list[Row]:
    """The rows of a comparison: all that judges samples or likelihood, and all of the paper's.

    Raises:
        UserError: a key of the paper's figures does not say whose figure it is.
    """
    paper_keys = [_paper_key(pair, key) for key in pair.paper]
    keys = headline_keys({*pair.base.figures, *pair.composition.figures})
    keys += sorted({key for key in paper_keys if key not in keys})
    return [_row(pair, measure_of(key)) for key in keys]


def principal(pair: Pair) -> tuple[Row, Row | None]:
    """The row that stands for the comparison, and the one of the paper's that is nearest to it."""
    rows = headline(pair)
    measured = [row for row in rows if "–" not in (row.base, row.composition)]
    if not measured:
        raise UserError(
            f"comparison {pair.name}: no figure that both models have; "
            f"run {pair.base.command} and {pair.composition.command}"
        )
    own = measured[0]
    if own.paper:
        return own, own
    return own, next((row for row in rows if row.key == "fid" and row.paper), None)


def numbers(pair: Pair) -> dict[str, float]:
    """The comparison as numbers.

    Returns:
        ``KEY_ratio`` or ``KEY_difference`` (composition against base), and ``KEY_gap`` and
        ``KEY_gap_base`` (truth less the model's value).
    """
    base, composition = pair.base.figures, pair.composition.figures
    keys = headline_keys(base.keys() & composition.keys())
    keys += sorted(key for key in base.keys() & composition.keys() if key.startswith("auroc_"))
    found: dict[str, float] = {}
    for key in keys:
        measure = measure_of(key)
        change = measure.change_of(base[key], composition[key])
        if change is not None:
            found[f"{key}_{measure.change}"] = change
        truth = composition.get(f"{key}_true")
        if truth is not None:
            found[f"{key}_gap"] = truth - composition[key]
            found[f"{key}_gap_base"] = truth - base[key]
    return {key: round(value, 6) for key, value in found.items()}


@dataclass(frozen=True)
class Detection:
    """How well both models tell one set from the data (Table 4.8), as text; pairs (base, comp.)."""

    name: str
    count: str
    auroc: tuple[str, str]
    aupr: tuple[str, str]
    fpr95: tuple[str, str]


def detections(pair: Pair) -> list[Detection]:
    """A row for each set that is not data, in alphabetical order."""
    both = (pair.base.figures, pair.composition.figures)
    names = sorted(
        {key.removeprefix("auroc_") for figures in both for key in figures if "auroc_" in key}
    )

    def shown(key: str) -> tuple[str, str]:
        base, composition = (_number(figures.get(key), 3) for figures in both)
        return base, composition

    return [
        Detection(
            name,
            _number(both[1].get(f"ood_count_{name}", both[1].get("ood_count")), 0),
            shown(f"auroc_{name}"),
            shown(f"aupr_{name}"),
            shown(f"fpr95_{name}"),
        )
        for name in names
    ]


def costs(pair: Pair) -> list[tuple[str, str, str]]:
    """What training and sampling took: title, base, composition; no row that neither can fill."""
    unit = "points" if pair.judging.kind == "points" else "images"

    def row(title: str, digits: int, figure: Callable[[Model], float | None]) -> tuple[str, ...]:
        return title, *(_number(figure(model), digits) for model in (pair.base, pair.composition))

    rows = (
        row("Parameters", 0, lambda model: model.training.get("parameters")),
        row("Training steps", 0, lambda model: model.training.get("steps")),
        row("Kept step", 0, lambda model: model.kept_step),
        row("Roll-backs after divergence", 0, lambda model: model.training.get("rollbacks")),
        row("Training time, s", 0, lambda model: model.training.get("seconds")),
        row("Network evaluations a sample (NFE)", 0, lambda model: model.sampling.get("nfe")),
        row(f"Seconds per 1,000 {unit}", 3, lambda model: model.sampling.get("seconds_per_1000")),
        row("Acceptance rate of a chain", 3, lambda model: model.sampling.get("acceptance_rate")),
    )
    return [
        (title, base, composition)
        for title, base, composition in rows
        if (base, composition) != ("–", "–")
    ]


def _row(pair: Pair, measure: Measure) -> Row:
    key = measure.key
    (base, base_noise), (composition, noise) = (
        _value(model.figures, key) for model in (pair.base, pair.composition)
    )
    paper = {role: pair.paper.get(f"{role}_{key}") for role in ROLES}
    told = paper["base"] is not None or paper["composition"] is not None
    return Row(
        key=key,
        title=measure.title,
        better=measure.better,
        base=measure.show(base, base_noise),
        composition=measure.show(composition, noise),
        change=measure.show_change(base, composition),
        verdict=_verdict(measure, base, composition, math.hypot(base_noise or 0, noise or 0)),
        reference=_reference(measure, pair.composition.figures),
        paper=f"{measure.show(paper['base'])} → {measure.show(paper['composition'])}"
        if told
        else "",
        paper_change=_paper_change(measure, paper) if told else "",
    )


def _paper_key(pair: Pair, key: str) -> str:
    role, _, figure = key.partition("_")
    if role not in ROLES or not figure:
        raise UserError(
            f"comparison {pair.name}: paper.{key}: begin the key with base_, "
            "composition_ or truth_ to say whose figure it is"
        )
    return figure


def _value(figures: Figures, key: str) -> tuple[float | None, float | None]:
    return figures.get(key), figures.get(f"{key}_std", figures.get(f"{key}_std_error"))


def _verdict(
    measure: Measure, base: float | None, composition: float | None, noise: float
) -> Verdict:
    if base is None or composition is None:
        return ""
    if composition == base:
        return "the same"
    if abs(composition - base) <= NOISE * noise:
        return "within noise"
    return "better" if measure.improves(base, composition) else "worse"


def _paper_change(measure: Measure, paper: Mapping[str, float | None]) -> str:
    change = measure.show_change(paper["base"], paper["composition"])
    return change if paper["truth"] is None else f"{change}, truth {measure.show(paper['truth'])}"


def _reference(measure: Measure, figures: Mapping[str, Any]) -> str:
    for kind, ending in (("truth", "_true"), ("floor", "_floor")):
        value = figures.get(f"{measure.key}{ending}")
        if value is not None:
            return f"{kind} {measure.show(value)}"
    return ""


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else signed(f"{value:,.{digits}f}")
