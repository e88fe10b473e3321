"""A message's remedy, as DVC takes it from the repository's folder."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pipelines.runtime.identity import REPOSITORY
from pipelines.runtime.remedies import placed

STUDY = Path("pipelines/diffusion_gan/params.yaml")
PLACED = "pipelines/diffusion_gan/dvc.yaml"
STUDIES = sorted(path.parent.name for path in REPOSITORY.glob("pipelines/*/params.yaml"))


@pytest.fixture(autouse=True)
def in_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)


@pytest.mark.parametrize(
    ("said", "read"),
    [
        ("dvc repro shard@mnist-16", f"dvc repro {PLACED}:shard@mnist-16"),
        ("dvc repro --force shard@mnist-16", f"dvc repro --force {PLACED}:shard@mnist-16"),
        # Of the main job, whose points the study reads.
        ("dvc repro shard@25-gaussians", "dvc repro shard@25-gaussians"),
        # One stage of the study is another's kind, in an order of its own.
        (
            "dvc repro features@stacked-mnist-16",
            f"dvc repro {PLACED}:stacked_features@stacked-mnist-16",
        ),
        (f"dvc repro {PLACED}:sample@ddpm-mnist-all", f"dvc repro {PLACED}:sample@ddpm-mnist-all"),
        (
            "dvc repro fetch@mnist-16, or dvc repro fetch@digits.",
            f"dvc repro {PLACED}:fetch@mnist-16, or dvc repro fetch@digits.",
        ),
        (
            "no exported model in models/ddpm-mnist: run the stage that makes it",
            f"no exported model in models/ddpm-mnist: run dvc repro {PLACED}:pretrain@ddpm-mnist",
        ),
        (
            "no exported model in models/vaebm-toy: run the stage that makes it",
            "no exported model in models/vaebm-toy: run dvc repro compose@vaebm-toy",
        ),
        (
            "models/my-own: run the stage that makes it",
            "models/my-own: run the stage that makes it",
        ),
        ("no remedy", "no remedy"),
    ],
)
def test_stages_of_the_study_are_named_with_its_file(said: str, read: str) -> None:
    assert placed(f"x: {said}", STUDY) == f"x: {read}"


def test_the_main_job_is_where_dvc_looks_by_itself() -> None:
    assert placed("dvc repro shard@digits", Path("params.yaml")) == "dvc repro shard@digits"


def test_settings_of_another_name_are_of_the_workflow_beside_them() -> None:
    """DVC expands its stages by params.yaml, whatever file the command was told to read."""
    said = placed("dvc repro shard@mnist-16, dvc repro shard@digits", STUDY.with_name("mine.yaml"))
    assert said == f"dvc repro {PLACED}:shard@mnist-16, dvc repro shard@digits"


@pytest.mark.parametrize("study", STUDIES)
def test_every_study_says_what_makes_its_models(study: str) -> None:
    params = Path("pipelines") / study / "params.yaml"
    sections = yaml.safe_load(params.read_text(encoding="utf-8"))
    made = [(kind, name) for kind in ("pretrain", "compose") for name in sections.get(kind, ())]
    # All in one message: it takes a while to read a study.
    said = placed(
        "\n".join(f"models/{name}: run the stage that makes it" for _, name in made), params
    )
    assert said.splitlines() == [
        f"models/{name}: run dvc repro {params.parent}/dvc.yaml:{kind}@{name}"
        for kind, name in made
    ]
    assert made or study == "judges"


@pytest.mark.parametrize("content", [None, "stages: [", "stages: {shard: {foreach: 3}}"])
def test_settings_without_a_workflow_leave_the_message_alone(
    content: str | None, tmp_path: Path
) -> None:
    shutil.copy(STUDY, tmp_path)
    if content is not None:
        (tmp_path / "dvc.yaml").write_text(content, encoding="utf-8")
    said = "dvc repro shard@mnist-16"
    assert placed(said, tmp_path / "params.yaml") == said


def test_the_command_line_says_what_dvc_finds(tmp_path: Path) -> None:
    """In a folder with nothing but the study's files, as in a clone where nothing was run yet."""
    folder = tmp_path / STUDY.parent
    folder.mkdir(parents=True)
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(STUDY.parent / name, folder)
    done = subprocess.run(
        [sys.executable, "-m", "pipelines.stages.pretrain", "ddpm-mnist", "--params", STUDY],
        cwd=tmp_path,
        env={"PYTHONPATH": str(REPOSITORY), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert f"dvc repro --force {PLACED}:shard@mnist-16" in done.stderr
    assert len(done.stderr.splitlines()) == 1
