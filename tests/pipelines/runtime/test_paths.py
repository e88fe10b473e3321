"""Settings given on the command line instead of in params.yaml."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from components.errors import UserError
from pipelines.runtime.settings import load_params
from pipelines.runtime.settings.paths import assigned, replaced
from tests.pipelines.small_project import Project, small_settings


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "params.yaml"
    file.write_text(yaml.safe_dump(small_settings()))
    return file


def test_values_are_those_of_the_models(file: Path) -> None:
    given = ["compose.vaebm-toy.langevin.steps=7", "pretrain.vae-toy.network.hidden=[8, 9]"]
    given += ["compose.vaebm-toy.optimiser.learning_rate=1e-4", "sample.vae-toy.count="]
    given += ["compose.vaebm-toy.warm_start=null", "compose.vaebm-toy.select.kind=last"]
    given += ["compose.vaebm-toy.replay={size: 10, probability: 0.5, anneal_steps: 0}"]
    params, as_filed = load_params(file, assigned(given)), load_params(file)
    composed = params.compose["vaebm-toy"]
    assert composed.langevin.steps == 7
    assert composed.optimiser.learning_rate == 1e-4  # text to YAML, a number to the schema
    assert composed.warm_start is None
    assert composed.replay is not None and composed.replay.size == 10
    network = params.pretrain["vae-toy"].network
    assert network.kind == "mlp" and network.hidden == [8, 9]
    assert params.sample == as_filed.sample and params.evaluate == as_filed.evaluate


def test_no_other_setting_changes(file: Path) -> None:
    before = yaml.safe_load(file.read_text())
    after = replaced(before, {"compose.vaebm-toy.seed": 5, "compose.vaebm-toy.max_gap": 9.0})
    assert before == small_settings()
    after["compose"]["vaebm-toy"] |= {"seed": 0, "max_gap": 50.0}
    assert after == before


def test_anchors_of_the_file_stay_apart() -> None:
    shared = yaml.safe_load("evaluate:\n  a: &x {grid: 3, near: {k: 1}}\n  b: *x\n")
    changed = replaced(shared, {"evaluate.a.grid": 4, "evaluate.a.near.k": 2})
    assert changed["evaluate"] == {"a": {"grid": 4, "near": {"k": 2}}, "b": shared["evaluate"]["b"]}
    assert shared["evaluate"]["b"] == {"grid": 3, "near": {"k": 1}}


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ("compose.vaebm-toy.langevin.stps=3", "no compose.vaebm-toy.langevin.stps: `stps` is not"),
        ("compose.vaebm-toy.langevin.stps=3", "did you mean `steps`?"),
        ("compos.vaebm-toy.seed=3", "`compos` is not there; did you mean `compose`?"),
        ("compose.vaebm-tony.seed=3", "did you mean `vaebm-toy`?"),
        ("compose.vaebm-toy.replay.size=3", "`size` is not there"),  # replay is null
        ("compose.vaebm-toy.seed.x=3", "`x` is not there"),
        ("compose.vaebm-toy.seed", "--set needs PATH=VALUE"),
        ("=3", "--set needs PATH=VALUE"),
        ("compose.vaebm-toy.seed=[3", "the value is not YAML"),
        ("compose.vaebm-toy.seed=-1", "compose.vaebm-toy.seed: -1 is not allowed"),
        ("compose.vaebm-toy.seed=many", "compose.vaebm-toy.seed: 'many' is not allowed"),
        ("compose.vaebm-toy.select={kind: best}", "kind 'best' is unknown"),
    ],
)
def test_mistakes_are_one_line(given: str, line: str, file: Path) -> None:
    with pytest.raises(UserError) as error:
        load_params(file, assigned([given]))
    assert line in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "spelling",
    [
        ["--set", "sample.vae-toy.count=0"],
        ["--set", "sample.vae-toy.seed=1", "--set", "sample.vae-toy.count=0"],
        ["--sample.vae-toy.count", "0"],
        ["--sample.vae-toy.count=0"],
    ],
)
def test_on_the_command_line(spelling: list[str], project: Project) -> None:
    done = project.stage("sample", "vae-toy", *spelling, check=False)
    assert done.returncode == 2 and done.stdout == ""
    (said,) = done.stderr.splitlines()
    assert said.startswith("error: params.yaml: sample.vae-toy.count: 0 is not allowed")


def test_an_option_without_its_value(project: Project) -> None:
    done = project.stage("sample", "vae-toy", "--sample.vae-toy.count", check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: --set needs PATH=VALUE")
