"""The page's tables for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.tables.claims import Finding
from pipelines.tables.layout import Sheet

GAP = "  "


def plain_text(
    title: str,
    sheets: Sequence[tuple[str, Sheet]],
    reference: Sequence[tuple[str, str]],
    found: Sequence[Finding],
) -> str:
    """All tables one below the other; of the first one, the best of a column is starred."""
    lines = [title, ""]
    for position, (heading, sheet) in enumerate(sheets):
        lines += [heading, *aligned(sheet)]
        if position == 0:
            lines += [f"{GAP}{name}: {value}" for name, value in reference]
        lines.append("")
    lines.append("What the dissertation says")
    lines += [
        f"{GAP}{each.verdict}: {each.says} ({each.evidence}: {each.values})" for each in found
    ]
    return "\n".join([*lines, ""])


def aligned(sheet: Sheet) -> list[str]:
    """A table's lines, its columns one below the other."""
    rows = [("", *sheet.columns)]
    for line in sheet.lines:
        marked = (
            f"{cell} {'*' if best else ' '}"
            for cell, best in zip(line.cells, line.best, strict=True)
        )
        rows.append((line.label, *marked))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    padded = ((row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])) for row in rows)
    return [(GAP + GAP.join(row)).rstrip() for row in padded]
