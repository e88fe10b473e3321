"""The commands of a sweep, as its page and its errors name them."""

from __future__ import annotations

from pathlib import Path

from pipelines.runtime.identity import REPOSITORY

ROOT = Path("params.yaml")


def run_command(name: str, source: Path) -> str:
    """What runs a sweep.

    Args:
        name: of the sweep.
        source: the settings file that has it. Sweeps of a study are in its folder's ``sweeps``.

    >>> run_command("steps", Path("pipelines/short_run/params.yaml"))
    'dvc repro pipelines/short_run/sweeps/dvc.yaml:sweep@steps'
    """
    source = _from_root(source)
    folder = Path("pipelines") if source == ROOT else source.parent
    return f"dvc repro {folder}/sweeps/dvc.yaml:sweep@{name}"


def apply_command(name: str, source: Path) -> str:
    """What puts a sweep's best settings into its settings file.

    >>> apply_command("steps", Path("params.yaml"))
    'python -m pipelines.sweeps.apply steps'
    """
    source = _from_root(source)
    return f"python -m pipelines.sweeps.apply {name}" + (
        "" if source == ROOT else f" --params {source}"
    )


def _from_root(source: Path) -> Path:
    """As the repository's folder sees it, if it is in there."""
    return source.relative_to(REPOSITORY) if source.is_relative_to(REPOSITORY) else source
