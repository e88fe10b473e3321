"""params.yaml: what is right is read, what is wrong is one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from components.errors import UserError
from pipelines.runtime.identity import REPOSITORY
from pipelines.runtime.settings import entry, load_params
from tests.pipelines.small_project import Project, small_settings

ABSENT = object()


def changed(folder: Path, path: str, value: Any) -> Path:
    """The small settings with one key set, added or (ABSENT) taken away."""
    content = small_settings()
    *sections, last = path.split(".")
    section: Any = content
    for key in sections:
        section = section[int(key) if isinstance(section, list) else key]
    if value is ABSENT:
        del section[last]
    else:
        section[last] = value
    file = folder / "params.yaml"
    file.write_text(yaml.safe_dump(content))
    return file


def complaint(file: Path) -> str:
    with pytest.raises(UserError) as error:
        load_params(file)
    line = str(error.value)
    assert "\n" not in line
    return line


def test_the_repositorys_settings_are_right() -> None:
    params = load_params(REPOSITORY / "params.yaml")
    for name, settings in params.compose.items():
        assert settings.base in params.pretrain, name
        assert name in params.sample and name in params.evaluate
    for name, sampling in params.sample.items():
        assert (sampling.langevin is not None) == (name in params.compose), name
    for name, judging in params.evaluate.items():
        assert judging.data in params.features, name
    used = {each.data for each in (*params.pretrain.values(), *params.compose.values())}
    used |= {
        other for each in params.evaluate.values() for other in each.outsiders.model_dump().values()
    }
    assert used <= params.fetch.keys() == params.shard.keys()


@pytest.mark.parametrize(
    ("path", "value", "line"),
    [
        (
            "pretrain.vae-toy.betta",
            1.0,
            "pretrain.vae-toy.betta: unknown setting; did you mean `beta`?",
        ),
        (
            "compose.vaebm-toy.langevin.stepsize",
            0.1,
            "compose.vaebm-toy.langevin.stepsize: unknown setting; did you mean `step_size`?",
        ),
        ("runtime.colour", "red", "runtime.colour: unknown setting"),
        ("evaluation", {}, "evaluation: unknown setting; did you mean `evaluate`?"),
        (
            "pretrain.vae-toy.latent",
            "two",
            "pretrain.vae-toy.latent: 'two' is not allowed; it should be a valid integer",
        ),
        (
            "pretrain.vae-toy.plan.steps",
            10.5,
            "pretrain.vae-toy.plan.steps: 10.5 is not allowed; it should be a valid integer",
        ),
        ("pretrain.vae-toy.plan", 3, "pretrain.vae-toy.plan: 3 is not allowed"),
        (
            "sample.vaebm-toy.langevin.metropolis",
            "perhaps",
            "metropolis: 'perhaps' is not allowed; it should be a valid boolean",
        ),
        (
            "pretrain.vae-toy.kind",
            "glow",
            "pretrain.vae-toy: kind 'glow' is unknown; allowed: 'vae', 'latent'",
        ),
        (
            "pretrain.vae-toy.network.kind",
            "unet",
            "pretrain.vae-toy.network: kind 'unet' is unknown; allowed: 'mlp', 'dcgan'",
        ),
        (
            "evaluate.vae-toy.kind",
            "sounds",
            "evaluate.vae-toy: kind 'sounds' is unknown; allowed: 'points', 'images'",
        ),
        ("evaluate.vae-toy.kind", ABSENT, "evaluate.vae-toy: needs a key `kind`"),
        ("pretrain.vae-toy.beta", ABSENT, "pretrain.vae-toy.beta: missing: give it a value"),
        ("runtime", ABSENT, "runtime: missing: give it a value"),
        (
            "runtime.pin_memory",
            True,
            "runtime: these settings do not go together or have the wrong form; it should be "
            "pin_memory false: without gpu",
        ),
        (
            "pretrain.vae-toy.plan.precision",
            "float8",
            "precision: 'float8' is not allowed; it should be 'float32', 'bfloat16' or 'float16'",
        ),
        (
            "pretrain.vae-toy.plan.accumulation",
            0,
            "accumulation: 0 is not allowed; it should be greater than or equal to 1",
        ),
        (
            "compose.vaebm-toy.langevin.step_size",
            -1,
            "compose.vaebm-toy.langevin.step_size: -1 is not allowed; it should be greater than 0",
        ),
        (
            "compose.vaebm-toy.langevin.step_size",
            float("nan"),
            "compose.vaebm-toy.langevin.step_size: nan is not allowed",
        ),
        (
            "compose.vaebm-toy.plan.steps",
            0,
            "plan.steps: 0 is not allowed; it should be greater than or equal to 1",
        ),
        (
            "pretrain.vae-toy.optimiser.ema",
            1.5,
            "optimiser.ema: 1.5 is not allowed; it should be less than or equal to 1",
        ),
        (
            "pretrain.vae-toy.network.hidden",
            [128, -1],
            "pretrain.vae-toy.network.hidden.1: -1 is not allowed",
        ),
        (
            "pretrain.vae-toy.likelihood",
            "poisson",
            "likelihood: 'poisson' is not allowed; it should be 'bernoulli' or 'gaussian'",
        ),
        (
            "pretrain.vae-toy.likelihood",
            "bernoulli",
            "likelihood gaussian: points (network kind mlp) are not in [0, 1]",
        ),
        (
            "features.digits.extractors",
            ["eye"],
            "features.digits.extractors.0: 'eye' is not allowed; it should be 'classifier'",
        ),
    ],
)
def test_what_is_wrong_is_one_line(path: str, value: Any, line: str, tmp_path: Path) -> None:
    said = complaint(changed(tmp_path, path, value))
    assert said.startswith("params.yaml: ")
    assert line in said


def test_a_mistyped_key_is_named_before_the_one_that_it_leaves_missing(tmp_path: Path) -> None:
    file = changed(tmp_path, "pretrain.vae-toy.latent", ABSENT)
    content = yaml.safe_load(file.read_text())
    content["pretrain"]["vae-toy"]["latnet"] = 2
    file.write_text(yaml.safe_dump(content))
    said = complaint(file)
    assert "pretrain.vae-toy.latnet: unknown setting; did you mean `latent`?" in said


def test_more_than_one_mistake_is_counted(tmp_path: Path) -> None:
    file = changed(tmp_path, "runtime.threads", 0)
    content = yaml.safe_load(file.read_text())
    content["runtime"]["gpu"] = "maybe"
    file.write_text(yaml.safe_dump(content))
    assert complaint(file).endswith("(and 1 more)")


@pytest.mark.parametrize("text", ["", "3", "- a\n- b\n"])
def test_files_that_hold_no_settings(text: str, tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    file.write_text(text)
    assert "the whole file" in complaint(file)


def test_no_yaml(tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    file.write_text("runtime: {threads: 2\nfetch: [")
    said = complaint(file)
    assert "params.yaml is not YAML" in said and "line 2" in said


def test_no_text(tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    file.write_bytes(b"\x89PNG\xff\xfe\x00")
    assert "is not YAML" in complaint(file)


def test_no_file(tmp_path: Path) -> None:
    said = complaint(tmp_path / "params.yaml")
    assert str(tmp_path / "params.yaml") in said and "--params" in said


def test_a_folder_for_a_file(tmp_path: Path) -> None:
    assert str(tmp_path) in complaint(tmp_path)


def test_no_such_entry(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no entry pretrain\.b in the settings; there are: a, c"):
        entry({"a": 1, "c": 2}, "pretrain", "b")


@pytest.mark.parametrize(
    ("path", "value", "name", "line"),
    [
        ("pretrain.vae-toy.betta", 1.0, "vae-toy", "did you mean `beta`?"),
        ("pretrain.vae-toy.latent", -1, "vae-toy", "-1 is not allowed"),
        ("runtime.threads", 1, "vae-nothing", "no entry pretrain.vae-nothing"),
        ("runtime.threads", 1, "vae-toy", "data/shards/25-gaussians"),  # nothing is sharded yet
    ],
)
def test_on_the_command_line(
    path: str, value: Any, name: str, line: str, project: Project, tmp_path: Path
) -> None:
    file = changed(tmp_path, path, value)
    before = sorted(project.root.rglob("*"))
    done = project.stage(
        "pretrain", name, "--params", str(file), check=False, PYTHONDONTWRITEBYTECODE="1"
    )
    assert done.returncode == 2
    assert done.stdout == ""
    (said,) = done.stderr.splitlines()
    assert said.startswith("error: ") and line in said
    assert sorted(project.root.rglob("*")) == before, "something was written"
