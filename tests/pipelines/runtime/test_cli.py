"""The command line that all stages share."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.runtime.identity import REPOSITORY

STAGES = sorted(
    path.stem for path in (REPOSITORY / "pipelines/stages").glob("*.py") if path.stem != "__init__"
)
FIRST_USE = """
from pathlib import Path
from pipelines.runtime.cli import quieten_libraries
{}
Tracker(load_params(Path({!r})).runtime, Path.cwd())
"""
QUIETEN, IMPORT = (
    "quieten_libraries()",
    "from pipelines.runtime.settings import load_params\nfrom pipelines.runtime.tracking import "
    "Tracker",
)


@pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning")
@pytest.mark.parametrize("stage", STAGES)
def test_each_stage_explains_itself(
    stage: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["stage", "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(f"pipelines.stages.{stage}", run_name="__main__", alter_sys=True)
    assert ended.value.code == 0
    told = capsys.readouterr().out
    assert told.startswith(f"usage: python -m pipelines.stages.{stage} ")
    section = "sweeps" if stage == "sweep" else stage
    for word in ("rites", f"{section}.NAME of the settings", "--params", "--set"):
        assert word in told


@pytest.mark.parametrize("order", [(QUIETEN, IMPORT), (IMPORT, QUIETEN)], ids=["late", "early"])
def test_the_first_use_of_mlflow_says_nothing(order: tuple[str, str], tmp_path: Path) -> None:
    """Whether MLflow is imported before or after; a new database is made silently."""
    code = FIRST_USE.format("\n".join(order), str(REPOSITORY / "params.yaml"))
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(REPOSITORY), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert (tmp_path / "mlflow.db").is_file()
    assert done.stdout + done.stderr == ""
