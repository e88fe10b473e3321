"""What the dissertation says of the order of models, held against the distances found here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from pipelines.comparison.measures import signed
from pipelines.comparison.tables import NOISE
from pipelines.runtime.settings import Claim
from pipelines.tables.entrants import Entrant

Verdict = Literal["holds", "within noise", "does not hold"]


@dataclass(frozen=True)
class Finding:
    """Whether a claim holds here.

    Attributes:
        key: of the claim.
        says: the claim.
        holds: each value is below the one before it, noise aside.
        within_noise: no step goes up by more than two joint standard deviations over draws, but
            some step, up or down, is no larger than that: the claim is left open.
        evidence: labels of the models.
        values: their distances, or gaps, as text.
    """

    key: str
    says: str
    holds: bool
    within_noise: bool
    evidence: str
    values: str

    @property
    def verdict(self) -> Verdict:
        """In a word."""
        if self.within_noise:
            return "within noise"
        return "holds" if self.holds else "does not hold"


def findings(claims: Mapping[str, Claim], entrants: Sequence[Entrant]) -> list[Finding]:
    """Hold each claim against the models' distances.

    The noise is that of sampling alone: what other training seeds would give is not known from it.
    """
    by_model = {each.row.model: each for each in entrants}
    return [_finding(key, claim, by_model) for key, claim in claims.items()]


def _finding(key: str, claim: Claim, entrants: Mapping[str, Entrant]) -> Finding:
    named = [entrants[model] for model in claim.falling]
    values = [(each.distance, each.deviation) for each in named]
    evidence = " → ".join(each.row.label for each in named)
    if claim.towards is not None:
        goal = entrants[claim.towards]
        values = [
            (abs(value - goal.distance), math.hypot(deviation, goal.deviation))
            for value, deviation in values
        ]
        evidence += f", gap to {goal.row.label}"
    # The fall of each step, and how large a one noise alone may make.
    falls = [
        (before - after, NOISE * math.hypot(one, other))
        for (before, one), (after, other) in pairwise(values)
    ]
    return Finding(
        key=key,
        says=claim.says,
        holds=all(fall > 0.0 for fall, _ in falls),
        within_noise=all(fall >= -noise for fall, noise in falls)
        and any(fall <= noise for fall, noise in falls),
        evidence=evidence,
        values=signed(" → ".join(f"{value:.4g}" for value, _ in values)),
    )
