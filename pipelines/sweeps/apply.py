"""Write the best settings of a sweep into params.yaml: ``python -m pipelines.sweeps.apply NAME``.

Reads metrics/sweep/NAME.json. Only the values themselves are replaced in the file's text: comments,
anchors, order and every other character stay.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from components.errors import UserError
from pipelines.runtime.outputs import write_text
from pipelines.runtime.settings import entry, load_params
from pipelines.runtime.settings.paths import replaced, value_at
from pipelines.sweeps.commands import run_command


def main(name: str, params_file: Path) -> None:
    """Apply the best settings of sweep ``name``.

    Raises:
        UserError: the sweep has not been run, or its best settings have no place in the file.
    """
    params = load_params(params_file)
    sweep = entry(params.sweeps, "sweeps", name)
    best = read_best(name, params_file)
    if best.keys() != sweep.space.keys():
        raise UserError(
            f"sweeps.{name} varies other settings now than when it was run: run it again"
        )
    before = params_file.read_text(encoding="utf-8")
    after = with_values(before, best)
    assert yaml.safe_load(after) == replaced(yaml.safe_load(before), best)
    write_text(params_file, after)
    for path, value in best.items():
        old = value_at(yaml.safe_load(before), path)
        print(f"{path}: {old} → {value}" if old != value else f"{path}: {value}, as it was")


def read_best(name: str, source: Path) -> dict[str, Any]:
    """The best settings that a sweep of a settings file found, settings path → value."""
    file = Path("metrics/sweep") / f"{name}.json"
    try:
        best: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))["best"]
    except FileNotFoundError:
        raise UserError(f"no {file}: run {run_command(name, source)}") from None
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{file} is not the figures of a sweep: run it again") from None
    return best


def with_values(text: str, values: Mapping[str, Any]) -> str:
    """A YAML text with other values at some paths, and not one other character changed.

    Args:
        text: a mapping of mappings.
        values: path → value.

    Raises:
        UserError: a path is not written in the text, is written over several lines, or is shared
            with other entries through an anchor.

    >>> print(with_values("a:\\n  b: 1.0  # why\\n", {"a.b": 0.25}), end="")
    a:
      b: 0.25 # why
    """
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    uses = Counter(id(node) for node in _nodes(root))
    edits: list[tuple[int, int, str]] = []
    for path, value in values.items():
        node = _node_at(root, path)
        if uses[id(node)] > 1:
            raise UserError(
                f"{path} is shared with other entries through an anchor: write its value by hand"
            )
        if node.start_mark.line != node.end_mark.line:
            raise UserError(f"{path} is written over several lines: write its value by hand")
        edits.append(_edit(text, node.start_mark.index, node.end_mark.index, value))
    # From the end backwards: the places of those that come before stay what they are.
    for first, last, new in sorted(edits, reverse=True):
        text = text[:first] + new + text[last:]
    return text


def _edit(text: str, first: int, last: int, value: Any) -> tuple[int, int, str]:
    """What to put where; a comment behind the value stays in its column if there is room."""
    new = yaml.safe_dump(value, default_flow_style=True, width=10**6).splitlines()[0]
    line = text[last : text.find("\n", last)]
    gap = len(line) - len(line.lstrip(" "))
    if not line.lstrip(" ").startswith("#"):
        return first, last, new
    return first, last + gap, new + " " * max(1, gap + (last - first) - len(new))


def _node_at(root: yaml.Node | None, path: str) -> yaml.Node:
    here = root
    for key in path.split("."):
        pairs = here.value if isinstance(here, yaml.MappingNode) else []
        here = next((value for name, value in pairs if name.value == key), None)
    if here is None:
        raise UserError(f"the file has no {path}")
    return here


def _nodes(node: yaml.Node | None) -> Iterator[yaml.Node]:
    """All nodes, one that is shared as often as it is used."""
    if node is None:
        return
    yield node
    children = node.value if isinstance(node, yaml.CollectionNode) else []
    for child in children:
        for part in child if isinstance(child, tuple) else (child,):
            yield from _nodes(part)


def command_line() -> None:
    """Parse the arguments, apply; a `UserError` is one line and status 2."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", help="entry of `sweeps` in the params file")
    parser.add_argument(
        "--params",
        type=Path,
        default=Path("params.yaml"),
        help="settings file (default: %(default)s)",
    )
    arguments = parser.parse_args()
    try:
        main(arguments.name, arguments.params)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    command_line()
