"""Keep dvc.lock as `dvc repro` would write it, whatever the order in which stages end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

LOCK = "dvc.lock"


@contextmanager
def orderly_locks(root: Path, plan: Sequence[str]) -> Iterator[None]:
    """Put the stages that were new in the block in the plan's order.

    DVC adds a stage to its lock file when the stage is done, and leaves those that are there where
    they are.

    Args:
        root: the repository's folder.
        plan: targets in DVC's order, ``stage`` or ``folder/dvc.yaml:stage``.
    """
    files: dict[Path, list[str]] = {}
    for target in plan:
        dvc_file, _, name = target.rpartition(":")
        folder = (root / dvc_file).parent if dvc_file else root
        files.setdefault(folder / LOCK, []).append(name)
    before = {file: _names(file) for file in files}
    try:
        yield
    finally:
        for file, names in files.items():
            _order(root, file, [*before[file], *names])


def _names(file: Path) -> list[str]:
    from dvc.utils.serialize import load_yaml

    return list(load_yaml(str(file)).get("stages", {})) if file.is_file() else []


def _order(root: Path, file: Path, order: Sequence[str]) -> None:
    from dvc.repo import Repo
    from dvc.utils.serialize import modify_yaml

    place = {name: position for position, name in reversed(list(enumerate(order)))}
    if _names(file) == sorted(_names(file), key=lambda name: place.get(name, len(order))):
        return
    with Repo(str(root), _wait_for_lock=True) as repo, repo.lock, modify_yaml(str(file)) as content:
        stages = content["stages"]
        content["stages"] = {
            name: stages[name] for name in sorted(stages, key=lambda n: place.get(n, len(order)))
        }
