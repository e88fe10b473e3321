"""The DAG of dvc.yaml as a graph: foreach expanded, edges from outputs to those who read them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from components.errors import UserError

Edge = tuple[str, str]
"""Names of two stages: the first one's output is read by the second."""

_EXPRESSION = re.compile(r"\$\{\s*([^}]+?)\s*\}")
_PART = re.compile(r"[^.\[\]]+")


@dataclass(frozen=True)
class Stage:
    """A stage as DVC runs it.

    Attributes:
        kind: its name in dvc.yaml.
        key: its entry of foreach; empty without foreach.
        deps: files and folders that it reads.
        outs: files and folders that it writes, metrics and plots among them.
    """

    kind: str
    key: str
    deps: tuple[str, ...]
    outs: tuple[str, ...]

    @property
    def name(self) -> str:
        """What ``dvc repro`` calls it."""
        return f"{self.kind}@{self.key}" if self.key else self.kind


@dataclass(frozen=True)
class Workflow:
    """Stages in dvc.yaml's order, and their edges without those that a longer path implies."""

    stages: tuple[Stage, ...]
    edges: tuple[Edge, ...]


def read_workflow(path: Path, params: Mapping[str, Any], targets: Iterable[str]) -> Workflow:
    """Resolve a dvc.yaml as far as a picture of it needs.

    Args:
        path: the file.
        params: the settings that its ``${...}`` speak of, as plain values.
        targets: stages; they and all that lies upstream of them is kept. Names that the file does
            not know are left out.

    Raises:
        UserError: no such file, no YAML, or an expression that the settings have no value for.
    """
    try:
        stages = resolve(yaml.safe_load(path.read_text(encoding="utf-8")), params)
    except FileNotFoundError:
        raise UserError(f"no {path}: run from the repository's folder") from None
    except (yaml.YAMLError, AttributeError, KeyError, TypeError) as error:
        raise UserError(f"{path} is no DVC file: {' '.join(str(error).split())}") from None
    edges = find_edges(stages)
    kept = upstream(edges, targets)
    return Workflow(
        tuple(stage for stage in stages if stage.name in kept),
        tuple(edge for edge in reduce_edges(edges) if edge[1] in kept),
    )


def resolve(content: Mapping[str, Any], params: Mapping[str, Any]) -> list[Stage]:
    """Expand ``foreach`` and fill in ``${key}``, ``${item.a[0].b}`` and ``${section.name}``.

    Args:
        content: of dvc.yaml.
        params: the settings.

    Raises:
        UserError: an expression that the settings have no value for.
    """
    stages: list[Stage] = []
    for kind, body in content["stages"].items():
        if "foreach" not in body:
            stages.append(_stage(kind, "", body, params))
            continue
        items = body["foreach"]
        if isinstance(items, str):
            items = _value(items.strip("${} "), params)
        pairs = items.items() if isinstance(items, Mapping) else ((item, item) for item in items)
        for key, item in pairs:
            scope = {**params, "key": key, "item": item}
            stages.append(_stage(kind, str(key), body["do"], scope))
    return stages


def find_edges(stages: Iterable[Stage]) -> list[Edge]:
    """All pairs of a stage and another that reads an output of it, or a folder around it."""
    known = list(stages)
    return [
        (writer.name, reader.name)
        for reader in known
        for writer in known
        if writer is not reader
        and any(_overlap(out, dep) for out in writer.outs for dep in reader.deps)
    ]


def upstream(edges: Iterable[Edge], targets: Iterable[str]) -> set[str]:
    """The targets and all that they depend on."""
    sources: dict[str, list[str]] = {}
    for source, target in edges:
        sources.setdefault(target, []).append(source)
    found: set[str] = set()
    pending = list(targets)
    while pending:
        name = pending.pop()
        if name not in found:
            found.add(name)
            pending += sources.get(name, [])
    return found


def reduce_edges(edges: list[Edge]) -> list[Edge]:
    """Leave out each edge that a longer path implies (the transitive reduction).

    >>> reduce_edges([("a", "b"), ("b", "c"), ("a", "c")])
    [('a', 'b'), ('b', 'c')]
    """
    before = {target: upstream(edges, [target]) - {target} for _, target in edges}
    direct: dict[str, list[str]] = {}
    for source, target in edges:
        direct.setdefault(target, []).append(source)
    return [
        (source, target)
        for source, target in edges
        if not any(source in before.get(other, ()) for other in direct[target])
    ]


def _stage(kind: str, key: str, body: Mapping[str, Any], scope: Mapping[str, Any]) -> Stage:
    def paths(*sections: str) -> tuple[str, ...]:
        entries = (entry for section in sections for entry in body.get(section, ()))
        # An output with options is a map of one key, the path.
        return tuple(
            _filled(next(iter(entry)) if isinstance(entry, Mapping) else entry, scope)
            for entry in entries
        )

    return Stage(kind, key, paths("deps"), paths("outs", "metrics", "plots"))


def _filled(text: str, scope: Mapping[str, Any]) -> str:
    return _EXPRESSION.sub(lambda match: str(_value(match[1], scope)), text)


def _value(expression: str, scope: Mapping[str, Any]) -> Any:
    value: Any = scope
    for part in _PART.findall(expression):
        try:
            value = value[int(part) if isinstance(value, list) else part]
        except (KeyError, IndexError, TypeError, ValueError):
            raise UserError(f"dvc.yaml: the settings have no {expression}") from None
    return value


def _overlap(first: str, second: str) -> bool:
    one, other = PurePosixPath(first), PurePosixPath(second)
    return one == other or one in other.parents or other in one.parents
