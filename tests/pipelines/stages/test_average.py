"""Means over training seeds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from components.errors import UserError
from pipelines.runtime.identity import REPOSITORY
from pipelines.runtime.settings import Params, load_params
from pipelines.stages import average


@pytest.fixture
def params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    """The study's settings, where the three seeds have been judged."""
    monkeypatch.chdir(tmp_path)
    Path("metrics/evaluate").mkdir(parents=True)
    names = ("vaebm-toy", "vaebm-toy-seed1", "vaebm-toy-seed2")
    for name, likelihood, truth in zip(names, (-1.1, -1.2, -1.3), (-1.0, -1.0, -1.1), strict=True):
        figures = {"log_likelihood": likelihood, "log_likelihood_true": truth, "modes": 25.0}
        figures |= {"log_likelihood_std_error": 0.02, "off_mode_fraction": -likelihood / 100}
        content = {**figures, "ood_score": "log p(x) + constant"}
        Path(f"metrics/evaluate/{name}.json").write_text(json.dumps(content))
    return load_params(REPOSITORY / "pipelines/tilting/params.yaml")


def test_means_and_deviations(params: Params) -> None:
    average.main("vaebm-toy", params)
    found = json.loads(Path("metrics/average/vaebm-toy.json").read_text())
    assert found == {
        "seeds": 3,
        "log_likelihood_gap": pytest.approx(0.5 / 3),
        "log_likelihood_gap_std_over_seeds": pytest.approx(0.1 / 3**0.5),
        "log_likelihood": pytest.approx(-1.2),
        "log_likelihood_std_over_seeds": pytest.approx(0.1),
        "log_likelihood_true": pytest.approx(-3.1 / 3),
        "log_likelihood_true_std_over_seeds": pytest.approx(0.1 / 3**0.5),
        "modes": 25.0,
        "modes_std_over_seeds": 0.0,
        "off_mode_fraction": pytest.approx(0.012),
        "off_mode_fraction_std_over_seeds": pytest.approx(0.001),
    }


@pytest.mark.parametrize(("content", "said"), [(None, "no metrics"), ("{", "cannot be read")])
def test_a_missing_seed_is_named(params: Params, content: str | None, said: str) -> None:
    file = Path("metrics/evaluate/vaebm-toy-seed2.json")
    file.unlink()
    if content is not None:
        file.write_text(content)
    with pytest.raises(UserError, match=rf"{said}.*run dvc repro evaluate@vaebm-toy-seed2"):
        average.main("vaebm-toy", params)
    assert not Path("metrics/average").exists()
