"""The result tables for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.comparison.section import Section
from pipelines.comparison.tables import Row

HEAD = ("", "base", "composition", "change", "", "truth or floor", "dissertation", "")
GAP = "  "


def plain_text(title: str, sections: Sequence[Section]) -> str:
    """All comparisons, one table below the other."""
    lines = [title, ""]
    for section in sections:
        lines += [f"{section.name} ({section.data})", *_table(section.rows), ""]
    return "\n".join(lines)


def _table(rows: Sequence[Row]) -> list[str]:
    lines = (HEAD, *(_cells(row) for row in rows))
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEAD))]
    return [
        (GAP + GAP.join((line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:]))).rstrip())
        for line in lines
    ]


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.title,
        row.base,
        row.composition,
        row.change,
        row.verdict,
        row.reference,
        row.paper,
        row.paper_change,
    )
