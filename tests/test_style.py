"""The rules of the house that a machine can check."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FORBIDDEN = {"ray", "mlflow", "dvc", "pipelines"}
ROOMS = ("datasets", "networks", "models", "samplers", "learners", "metrics", "plots")
# What a room may read of the others: one direction only.
MAY_READ = {
    "datasets": set(),
    "networks": {"datasets"},
    "samplers": {"datasets", "networks"},
    "models": {"datasets", "networks", "samplers"},
    "learners": {"datasets", "networks", "models", "samplers"},
    "metrics": {"datasets", "networks", "models", "samplers"},
    "plots": {"datasets", "models"},
}


def imported(file: Path) -> set[str]:
    """Dotted names of all modules that a file imports, at its top or inside functions."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            found.add(node.module or "")
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


@pytest.mark.parametrize(
    "command",
    [("ruff", "check", "."), ("ruff", "format", "--check", "."), ("mypy",)],
    ids=["ruff-check", "ruff-format", "mypy"],
)
def test_checkers_are_content(command: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_components_know_nothing_of_the_orchestration() -> None:
    files = sorted((ROOT / "components").rglob("*.py"))
    assert len(files) > 20
    guilty = {
        str(file.relative_to(ROOT)): sorted(bad)
        for file in files
        if (bad := {name for name in imported(file) if name.split(".")[0] in FORBIDDEN})
    }
    assert guilty == {}


@pytest.mark.parametrize("room", ROOMS)
def test_components_read_in_one_direction(room: str) -> None:
    allowed = MAY_READ[room] | {room}
    for file in sorted((ROOT / "components" / room).rglob("*.py")):
        parts = [name.split(".") for name in imported(file) if name.startswith("components.")]
        others = {name[1] for name in parts if name[1] in ROOMS}
        assert others <= allowed, f"{file.relative_to(ROOT)} reads {sorted(others - allowed)}"


def test_the_checker_of_imports_sees_them(tmp_path: Path) -> None:
    file = tmp_path / "x.py"
    file.write_text(
        "import numpy as np\ndef f():\n    from ray import train\n    import mlflow.x\n"
    )
    assert imported(file) == {"numpy", "ray", "ray.train", "mlflow.x"}
