"""Studies: their settings are right, and a plain ``dvc repro`` runs none of them."""

from __future__ import annotations

import re
import shutil

import pytest
import yaml

from pipelines.runtime.identity import REPOSITORY
from pipelines.runtime.settings import load_params
from tests.pipelines.small_project import Project

STUDIES = sorted(path.parent.name for path in (REPOSITORY / "pipelines").glob("*/params.yaml"))


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The repository's DAGs and settings, where nothing has been run."""
    root = tmp_path_factory.mktemp("studies")
    (root / "data").mkdir()
    files = ["dvc.yaml", "params.yaml", "data/catalog.yaml", "pipelines/sweeps/dvc.yaml"]
    files += [
        f"pipelines/{name}/{file}" for name in STUDIES for file in ("dvc.yaml", "params.yaml")
    ]
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / file, root / file)
    project = Project(root)
    project.run("dvc", "init", "--no-scm", "-q")
    return project


def stages_of(project: Project, *target: str) -> list[str]:
    """What ``dvc repro`` would run."""
    told = project.run("dvc", "repro", "--dry", "--force", *target).stdout
    return re.findall(r"^Running stage '(.+)':", told, re.MULTILINE)


def test_a_plain_repro_runs_no_study_and_no_sweep(empty: Project) -> None:
    stages = stages_of(empty)
    assert "report@index" in stages and "evaluate@vaebm-toy" in stages
    assert [name for name in stages if "/" in name] == []


@pytest.mark.parametrize("study", STUDIES)
def test_a_study_runs_when_it_is_named(empty: Project, study: str) -> None:
    own = f"pipelines/{study}/dvc.yaml:"
    content = yaml.safe_load((REPOSITORY / "pipelines" / study / "params.yaml").read_text())
    stages_named = content.keys() - {"runtime", "sweeps"}
    asked = {f"{stage}@{name}" for stage in stages_named for name in content[stage]}
    stages = stages_of(empty, f"pipelines/{study}/dvc.yaml")
    found = {name.removeprefix(own) for name in stages if name.startswith(own)}
    # Entries of one section whose inputs differ are stages of another name.
    assert {name.removeprefix("stacked_") for name in found} == asked


@pytest.mark.parametrize("folder", [".", *(f"pipelines/{name}" for name in STUDIES)])
def test_a_training_that_is_judged_on_the_way_waits_for_its_judge(folder: str) -> None:
    """Else it would be run before there is one, and not again when that changes."""
    params = load_params(REPOSITORY / folder / "params.yaml").model_dump()
    stages = yaml.safe_load((REPOSITORY / folder / "dvc.yaml").read_text())["stages"]
    for section in ("pretrain", "compose"):
        for settings in params.get(section, {}).values():
            if settings.get("select", {}).get("kind") in ("frechet", "watched"):
                assert "models/features/${item.data}" in stages[section]["do"]["deps"]


@pytest.mark.parametrize("study", STUDIES)
def test_settings_of_studies_are_right(study: str) -> None:
    load_params(REPOSITORY / "pipelines" / study / "params.yaml")


def test_seeds_are_all_that_differs_from_the_main_job() -> None:
    main = load_params(REPOSITORY / "params.yaml").model_dump()
    study = load_params(REPOSITORY / "pipelines/tilting/params.yaml").model_dump()
    for name in ("vae-toy", "vaebm-toy"):
        for seed in (1, 2):
            for section in ("pretrain", "compose", "sample", "evaluate"):
                if name not in main[section]:
                    continue
                expected = dict(main[section][name])
                if "seed" in expected:
                    expected["seed"] = seed
                if "base" in expected:
                    expected["base"] += f"-seed{seed}"
                assert study[section][f"{name}-seed{seed}"] == expected
        assert study["average"][name]["models"] == [name, f"{name}-seed1", f"{name}-seed2"]
