"""Entry points of the MLflow Project of denoising diffusion GANs: their parameters are settings."""

from __future__ import annotations

import pytest
import yaml

from components.errors import UserError
from components.learners.denoising_gan import AdversarialSettings
from pipelines.runtime.identity import REPOSITORY
from pipelines.runtime.settings import load_params
from pipelines.runtime.settings.paths import assigned
from pipelines.training.denoising_gan import game_of

PARAMS = "pipelines/diffusion_gan/params.yaml"
PROJECT = yaml.safe_load((REPOSITORY / "mlflow_projects/ddgan/MLproject").read_text())
# What is no whole number, and entries that have all that is given.
VALUES = {
    "pretrain": {
        "augmentation": "0",
        "groups_of_one_time": "false",
        "common_noise": "true",
        "predicts": "clean",
    },
    "sample": {"name": "ddpm-mnist-ddim4", "eta": "0.5"},
    "synthesise": {"picture": "drawing.png"},
}
SECTIONS = {"sweep": "sweeps"}


def assignments(stage: str, **values: str) -> list[str]:
    """What an entry point's command gives to --set; parameters without a value are 2."""
    own = PROJECT["entry_points"][stage]
    defaults = {key: each["default"] for key, each in own["parameters"].items()}
    filled = {key: default or "2" for key, default in defaults.items()} | values
    return [word for word in own["command"].format(**filled).split() if "=" in word]


@pytest.mark.parametrize("stage", PROJECT["entry_points"])
def test_an_entry_point_fits_the_settings(stage: str) -> None:
    parameters, command = (PROJECT["entry_points"][stage][key] for key in ("parameters", "command"))
    assert f"-m pipelines.stages.{stage} {{name}} --params {{params}}" in command
    assert (REPOSITORY / f"pipelines/stages/{stage}.py").is_file()
    # Of all values that a parameter could have by default, only names are not the settings file's.
    defaults = {key: each["default"] for key, each in parameters.items() if each["default"]}
    assert defaults.keys() == {"name", "params"} and defaults["params"] == PARAMS
    given = assignments(stage, **VALUES.get(stage, {}))
    assert len(given) == len(parameters) - 2
    unchanged = load_params(REPOSITORY / PARAMS)
    assert defaults["name"] in getattr(unchanged, SECTIONS.get(stage, stage))
    assert (load_params(REPOSITORY / PARAMS, assigned(given)) != unchanged) == bool(given)


def test_the_game_is_what_was_given() -> None:
    given = assigned(
        assignments(
            "pretrain",
            **VALUES["pretrain"]
            | {
                "gamma": "0.2",
                "diffusion_steps": "1",
                "r1_every": "3",
                "augmentation": "4",
                "groups_of_one_time": "true",
                "common_noise": "false",
            },
        )
    )
    settings = load_params(REPOSITORY / PARAMS, given).pretrain["ddgan-t4-mnist"]
    assert settings.kind == "denoising-gan" and settings.diffusion.steps == 1
    assert game_of(settings) == AdversarialSettings(0.2, 3, 4, True, False)


def test_points_are_shown_as_published() -> None:
    settings = load_params(REPOSITORY / PARAMS).pretrain["ddgan-25-gaussians"]
    assert settings.kind == "denoising-gan"
    assert game_of(settings) == AdversarialSettings(0.05, 1, 0, False, False)


def test_what_an_entry_has_not_is_refused_by_name() -> None:
    given = assigned(assignments("pretrain", name="ddpm-mnist", predicts="clean"))
    with pytest.raises(UserError, match=r"no pretrain\.ddpm-mnist\.discriminator_optimiser"):
        load_params(REPOSITORY / PARAMS, given)
