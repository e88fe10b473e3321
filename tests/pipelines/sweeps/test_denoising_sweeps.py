"""Sweeps of denoising models: trials of the study's sweeps, and of samples of another's model."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.errors import UserError
from components.models.build import seeded
from components.models.export import export_model
from pipelines.runtime.identity import REPOSITORY
from pipelines.runtime.settings import DDPMPretrain, Params, load_params
from pipelines.stages import pretrain
from pipelines.sweeps.run import check
from pipelines.sweeps.trials import Subject, source_of
from tests.pipelines.test_paper import write_random_shards

STUDY = load_params(REPOSITORY / "pipelines/diffusion_gan/params.yaml")
TRAINED = [name for name, sweep in STUDY.sweeps.items() if sweep.trial.kind == "training"]
SAMPLED = "ddpm-mnist-sampling"
COUNTS = {"kind": "choice", "values": [4, 8]}


def changed(path: str, value: object) -> Params:
    """The study with another value in the sweep of samples."""
    content = STUDY.model_dump(mode="json")
    content["sweeps"][SAMPLED][path] = value
    return Params.model_validate(content)


@pytest.mark.parametrize("name", TRAINED)
def test_each_value_of_a_training_sweep_is_a_training(name: str) -> None:
    sweep = check(name, STUDY)
    assert source_of(sweep, STUDY) == sweep.model == sweep.reads
    subject = Subject(name, "/", STUDY.model_dump(mode="json"), "/")
    for path, space in sweep.space.items():
        assert space.kind == "choice"
        for value in space.values:
            trial = subject.of_trial({path: value})
            *_, section, key = ["", *path.split(".")[2:]]
            settings = trial.pretrain[sweep.model]
            assert getattr(getattr(settings, section) if section else settings, key) == value
            steps = sweep.fixed[f"pretrain.{sweep.model}.plan.steps"]
            assert settings.plan.steps == steps < STUDY.pretrain[sweep.model].plan.steps


def test_samples_are_of_the_model_that_their_entry_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_random_shards("mnist-16", (1, 16, 16))
    with pytest.raises(UserError, match="no exported model in models/ddpm-mnist"):
        check(SAMPLED, STUDY)
    settings = STUDY.pretrain["ddpm-mnist"]
    assert isinstance(settings, DDPMPretrain)
    model = pretrain.training_of("ddpm-mnist", STUDY).model
    folder = tmp_path / "models/ddpm-mnist"
    folder.mkdir(parents=True)
    story = {"stage": "pretrain", "settings": settings.model_dump(mode="json")}
    export_model(folder, model, seeded(model, 0).state_dict(), story)
    sweep = check(SAMPLED, STUDY)
    assert sweep.model == "ddpm-mnist-ddim4" and source_of(sweep, STUDY) == "ddpm-mnist"
    with pytest.raises(UserError, match=r"reads is ddgan-t4-mnist, but the trials of ddpm-mnist-d"):
        check(SAMPLED, changed("reads", "ddgan-t4-mnist"))
    with pytest.raises(UserError, match="do not read"):
        check(SAMPLED, changed("space", {"sample.ddpm-mnist-all.count": COUNTS}))
