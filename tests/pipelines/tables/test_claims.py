"""Claims against distances whose order is known."""

from __future__ import annotations

import pytest

from pipelines.runtime.settings import Claim, TableRow
from pipelines.tables.claims import Finding, findings
from pipelines.tables.entrants import Entrant


def finding(*values: tuple[float, float], towards: tuple[float, float] | None = None) -> Finding:
    """A claim that distances (value, deviation) fall, or nears the last one."""
    given = [*values, towards] if towards is not None else list(values)
    entrants = [
        Entrant(
            TableRow(model=f"m{i}", label=f"M{i}", paper_fid=None),
            "latent-images",
            {},
            value,
            deviation,
            [],
            [],
            [],
            {},
            "",
        )
        for i, (value, deviation) in enumerate(given)
    ]
    claim = Claim(
        says="falls",
        falling=[f"m{i}" for i in range(len(values))],
        towards=None if towards is None else f"m{len(values)}",
    )
    (found,) = findings({"c": claim}, entrants)
    return found


@pytest.mark.parametrize(
    ("values", "verdict", "holds"),
    [
        ([(3, 0.1), (2, 0.1), (1, 0.1)], "holds", True),
        ([(3, 0.1), (2, 0.1), (2.5, 0.1)], "does not hold", False),
        ([(3, 0.1), (2, 0.1), (1.9, 0.1)], "within noise", True),
        ([(3, 0.1), (2, 0.1), (2.1, 0.1)], "within noise", False),
        # A rise beyond noise is not made good by another step within it.
        ([(3, 0.1), (2.9, 0.1), (3.5, 0.1)], "does not hold", False),
        ([(2, 0), (2, 0)], "within noise", False),
    ],
)
def test_falling(values: list[tuple[float, float]], verdict: str, holds: bool) -> None:
    found = finding(*values)
    assert (found.verdict, found.holds) == (verdict, holds)


def test_nearing_from_either_side() -> None:
    found = finding((10, 0.1), (3, 0.1), towards=(5, 0.1))
    assert found.verdict == "holds"
    assert found.values == "5 → 2"
    assert found.evidence == "M0 → M1, gap to M2"
    assert finding((6, 0.1), (3, 0.1), towards=(5, 0.1)).verdict == "does not hold"


def test_the_target_s_noise_counts() -> None:
    assert finding((10, 0), (9, 0), towards=(5, 0)).verdict == "holds"
    assert finding((10, 0), (9, 0), towards=(5, 1)).verdict == "within noise"
