"""The DAG as an inline SVG: a column for each kind of stage, edges from left to right.

The layout is that of Sugiyama, Tagawa and Toda (1981), "Methods for visual understanding of
hierarchical system structures": long edges get a place in each column that they pass, and columns
are ordered by the mean place of their neighbours, which leaves few crossings.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from itertools import pairwise

from pipelines.report.workflow import Stage, Workflow

BOX_WIDTH, BOX_HEIGHT = 104.0, 28.0
GAP_X, GAP_Y = 26.0, 10.0
LANE_HEIGHT = 6.0
HEADER = 30.0
MARGIN = 4.0
SWEEPS = 12
CHARACTERS = 15
"""Of a box's label; longer names are cut, and are whole in the tooltip."""

Item = str | tuple[str, str, int]
"""What has a place in a column: a stage's name, or a long edge that passes column i."""


def draw_workflow(workflow: Workflow, roles: Mapping[str, str]) -> str:
    """Draw the DAG.

    Args:
        workflow: stages and edges.
        roles: CSS class of a stage's box, by the name of its entry (``base``, ``composition``).

    Returns:
        An ``<svg>`` element. Colours come from the page's style sheet: classes ``edge``, ``box``,
        ``kind`` and the roles.
    """
    kinds = _kinds(workflow)
    column_of = {stage.name: kinds.index(stage.kind) for stage in workflow.stages}
    paths = [_path(edge, column_of) for edge in workflow.edges]
    columns = _columns(workflow.stages, kinds, paths)
    heights = [sum(_height(item) + GAP_Y for item in column) - GAP_Y for column in columns]
    height = HEADER + max(heights) + 2 * MARGIN
    width = len(kinds) * (BOX_WIDTH + GAP_X) - GAP_X + 2 * MARGIN
    middles = _middles(columns, heights, max(heights))
    svg = ET.Element(
        "svg",
        {
            "viewBox": f"0 0 {width:g} {height:g}",
            "class": "workflow",
            "role": "img",
            "aria-label": "stages of the workflow and what they read from one another",
        },
    )
    for path in paths:
        ET.SubElement(svg, "path", {"class": "edge", "d": _curve(path, column_of, middles)})
    for position, kind in enumerate(kinds):
        _text(svg, _left(position), HEADER / 2, kind, "kind")
    for stage in workflow.stages:
        left, middle = _left(column_of[stage.name]), middles[stage.name]
        _box(svg, stage, left, middle, roles.get(stage.key, ""))
    return ET.tostring(svg, encoding="unicode")


def _kinds(workflow: Workflow) -> list[str]:
    """Kinds from left to right, each right of all that its stages read."""
    kind_of = {stage.name: stage.kind for stage in workflow.stages}
    links = {(kind_of[one], kind_of[other]) for one, other in workflow.edges}
    left = list(dict.fromkeys(stage.kind for stage in workflow.stages))
    ordered: list[str] = []
    while left:
        free = [kind for kind in left if not any((one, kind) in links for one in left)]
        # A circle among kinds (compositions of compositions, say) is cut where the file begins.
        chosen = free[0] if free else left[0]
        ordered.append(chosen)
        left.remove(chosen)
    return ordered


def _path(edge: tuple[str, str], column_of: Mapping[str, int]) -> list[Item]:
    source, target = edge
    lanes = range(column_of[source] + 1, column_of[target])
    return [source, *((source, target, column) for column in lanes), target]


def _columns(
    stages: Sequence[Stage], kinds: Sequence[str], paths: Sequence[Sequence[Item]]
) -> list[list[Item]]:
    columns: list[list[Item]] = [[] for _ in kinds]
    for stage in stages:
        columns[kinds.index(stage.kind)].append(stage.name)
    neighbours: dict[Item, list[Item]] = {}
    for path in paths:
        for item in path[1:-1]:
            if isinstance(item, tuple):
                columns[item[2]].append(item)
        for one, other in pairwise(path):
            neighbours.setdefault(one, []).append(other)
            neighbours.setdefault(other, []).append(one)
    for sweep in range(SWEEPS):
        order = range(len(columns)) if sweep % 2 == 0 else reversed(range(len(columns)))
        for column in order:
            _order(columns, column, neighbours, earlier=sweep % 2 == 0)
    return columns


def _order(
    columns: list[list[Item]],
    column: int,
    neighbours: Mapping[Item, Sequence[Item]],
    earlier: bool,
) -> None:
    """Sort a column by the mean relative place of neighbours on one side."""
    beside = column - 1 if earlier else column + 1
    if not 0 <= beside < len(columns):
        return
    size = max(len(columns[beside]) - 1, 1)
    place = {item: position / size for position, item in enumerate(columns[beside])}
    own = max(len(columns[column]) - 1, 1)

    def mean(position: int, item: Item) -> float:
        seen = [place[other] for other in neighbours.get(item, ()) if other in place]
        return sum(seen) / len(seen) if seen else position / own

    keyed = [(mean(*pair), pair[0], pair[1]) for pair in enumerate(columns[column])]
    columns[column] = [item for _, _, item in sorted(keyed, key=lambda entry: entry[:2])]


def _middles(
    columns: Sequence[Sequence[Item]], heights: Sequence[float], tallest: float
) -> dict[Item, float]:
    middles: dict[Item, float] = {}
    for column, height in zip(columns, heights, strict=True):
        top = HEADER + MARGIN + (tallest - height) / 2
        for item in column:
            middles[item] = top + _height(item) / 2
            top += _height(item) + GAP_Y
    return middles


def _height(item: Item) -> float:
    return BOX_HEIGHT if isinstance(item, str) else LANE_HEIGHT


def _left(column: int) -> float:
    return MARGIN + column * (BOX_WIDTH + GAP_X)


def _curve(
    path: Sequence[Item], column_of: Mapping[str, int], middles: Mapping[Item, float]
) -> str:
    """From box to box, level through each column that is passed, bending between columns."""
    bend = GAP_X / 2

    def left(item: Item) -> float:
        return _left(column_of[item] if isinstance(item, str) else item[2])

    drawn = f"M {left(path[0]) + BOX_WIDTH:g} {middles[path[0]]:g}"
    for one, other in pairwise(path):
        start, end, x = middles[one], middles[other], left(other)
        drawn += f" C {left(one) + BOX_WIDTH + bend:g} {start:g} {x - bend:g} {end:g} {x:g} {end:g}"
        if isinstance(other, tuple):
            drawn += f" H {x + BOX_WIDTH:g}"
    return drawn


def _box(svg: ET.Element, stage: Stage, left: float, middle: float, role: str) -> None:
    group = ET.SubElement(svg, "g", {"class": f"box {role}".strip()})
    ET.SubElement(group, "title").text = f"dvc repro {stage.name}"
    frame = {"x": f"{left:g}", "y": f"{middle - BOX_HEIGHT / 2:g}", "rx": "6"}
    frame |= {"width": f"{BOX_WIDTH:g}", "height": f"{BOX_HEIGHT:g}"}
    ET.SubElement(group, "rect", frame)
    name = stage.key or stage.kind
    shown = name if len(name) <= CHARACTERS else name[: CHARACTERS - 1] + "…"
    _text(group, left + 10, middle, shown, "name")


def _text(parent: ET.Element, x: float, y: float, text: str, style: str) -> None:
    place = {"x": f"{x:g}", "y": f"{y:g}", "class": style, "dominant-baseline": "central"}
    ET.SubElement(parent, "text", place).text = text
