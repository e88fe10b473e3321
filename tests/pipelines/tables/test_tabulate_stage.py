"""The tabulate stage, from the files of the other stages to its page and its figures."""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from components.errors import UserError
from pipelines.runtime.settings import Params, Table
from pipelines.stages import tabulate
from tests.pipelines.pages import Page
from tests.pipelines.tables.models import MODELS, TABLE, WORKFLOW, TableSite, build_table_site


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> TableSite:
    """All inputs of a table. Not to be changed."""
    return build_table_site(tmp_path_factory.mktemp("table"))


@pytest.fixture(scope="module")
def tabulated(complete: TableSite, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the table has been made. Not to be changed."""
    root = tmp_path_factory.mktemp("tabulated") / "site"
    shutil.copytree(complete.root, root)
    with contextlib.chdir(root):
        tabulate.main("mnist", complete.params)
    return root


@pytest.fixture
def site(complete: TableSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TableSite:
    """A copy of the inputs; the working folder is there."""
    shutil.copytree(complete.root, tmp_path / "site")
    monkeypatch.chdir(tmp_path / "site")
    return TableSite(tmp_path / "site", complete.params)


def changed(params: Params, **changes: Any) -> Params:
    """The settings with another table."""
    table = params.tabulate["mnist"].model_copy(update=changes)
    return params.model_copy(update={"tabulate": {"mnist": table}})


def test_figures_of_each_model_and_claims(tabulated: Path) -> None:
    figures = json.loads((tabulated / "metrics/tabulate/mnist.json").read_text())
    assert figures["glf_frechet"] == 14.0 and figures["glf_frechet_std"] == 0.2
    assert figures["glf_f8"] == pytest.approx(1 - 0.15 / 4)
    assert figures["glf_f1_8"] == pytest.approx(1 - 0.15 / 2)
    assert figures["frechet_floor"] == 0.52
    expected = {
        "glf_below_vae": (True, False),
        "glf_below_two_stage": (False, False),
        "flow_prior_helps": (True, True),
        "beta_nears_glf": (True, False),
    }
    for claim, verdict in expected.items():
        assert (figures[claim], figures[f"{claim}_within_noise"]) == verdict, claim
    assert len(figures) == 4 * len(MODELS) + 1 + 2 * len(expected)


def test_the_page_is_well_formed_and_needs_nothing_else(tabulated: Path) -> None:
    text = (tabulated / "report/tables/mnist/index.html").read_text()
    page = Page(text)
    assert page.open == []
    assert "script" not in page.tags and "link" not in page.tags
    anchors = {a.removeprefix("#") for a in page.addresses if a.startswith("#")}
    assert anchors <= set(page.ids) and len(anchors) == 9
    assert all(a.startswith(("data:image/png;base64,", "#")) for a in page.addresses)
    # One of the data, four of each model, and the curves.
    assert len(page.pictures) == 1 + 4 * len(MODELS) + len(TABLE["curves"])
    assert all(page.pictures)


def test_the_page_says_what_matters(tabulated: Path) -> None:
    words = Page((tabulated / "report/tables/mnist/index.html").read_text()).text
    assert "VAE <β = 1>" in words, "labels are escaped, not dropped"
    assert "14.00 ± 0.20" in words and "floor of the distance 0.52" in words
    assert "The distance is no FID" in words
    assert "does not hold" in words and "within noise" in words
    assert f"dvc repro {WORKFLOW}:evaluate@glf" in words


def test_the_tables_as_text(tabulated: Path) -> None:
    lines = (tabulated / "report/tables/mnist/index.txt").read_text().splitlines()
    glf, *_ = (line for line in lines if line.strip().startswith("GLF"))
    # Ratios to the first row: 14 / 40 here, 8.2 / 28.2 in the dissertation.
    cells = glf.split()
    assert cells[1:8] == ["14.00", "±", "0.20", "0.35", "8.2", "*", "0.29"]
    (best,) = (line for line in lines if "13.00 ± 0.40 *" in line)
    assert best.strip().startswith("Two-stage VAE")


def test_time_of_an_epoch(tabulated: Path) -> None:
    text = (tabulated / "report/tables/mnist/index.txt").read_text()
    cost = text[text.index("Cost") : text.index("What the dissertation")].splitlines()
    # 500 of the 600 images train, 5 updates of 100 an epoch, a tenth of a second an update.
    two_stage, mixture = (
        " ".join(line.split()) for name in ("Two-stage", "RAE") for line in cost if name in line
    )
    assert two_stage.endswith("0.5 / 0.5 50 / 50")
    assert mixture.endswith("0.5 / – 50 / 50")


def test_the_same_inputs_give_the_same_files(site: TableSite, tabulated: Path) -> None:
    tabulate.main("mnist", site.params)
    for file in ("index.html", "index.txt"):
        path = Path("report/tables/mnist") / file
        assert (site.root / path).read_bytes() == (tabulated / path).read_bytes()


@pytest.mark.parametrize(
    ("path", "stage"),
    [
        ("metrics/evaluate/glf.json", "evaluate@glf"),
        ("metrics/pretrain/vae.json", "pretrain@vae"),
        ("metrics/compose/rae-gmm.json", "compose@rae-gmm"),
        ("plots/pretrain/glf/training.csv", "pretrain@glf"),
        ("plots/compose/two-stage-vae/validation.csv", "compose@two-stage-vae"),
        ("plots/evaluate/glf/neighbours.png", "evaluate@glf"),
    ],
)
def test_a_missing_file_is_named_with_its_remedy(site: TableSite, path: str, stage: str) -> None:
    (site.root / path).unlink()
    with pytest.raises(UserError) as caught:
        tabulate.main("mnist", site.params)
    assert path in str(caught.value)
    assert str(caught.value).endswith(f"run dvc repro {WORKFLOW}:{stage}")
    assert not (site.root / "report").exists()


def test_figures_of_an_older_judge_are_named(site: TableSite) -> None:
    file = site.root / "metrics/evaluate/glf.json"
    figures = json.loads(file.read_text())
    del figures["f8_classifier"]
    file.write_text(json.dumps(figures))
    with pytest.raises(UserError, match=r"glf.json has no f8_classifier: run dvc repro \S+@glf"):
        tabulate.main("mnist", site.params)


def test_a_curve_that_was_not_logged_is_named(site: TableSite) -> None:
    curve = site.params.tabulate["mnist"].curves[0].model_copy(update={"models": ["glf"]})
    with pytest.raises(UserError, match=r"has no column entropy .* are: step, reconstruction"):
        tabulate.main("mnist", changed(site.params, curves=[curve]))


def test_models_that_are_judged_otherwise_are_refused(site: TableSite) -> None:
    with pytest.raises(
        UserError, match="judges on mnist by classifier, the table is of mnist by imagenet"
    ):
        tabulate.main("mnist", changed(site.params, extractor="imagenet"))


def test_models_that_are_judged_differently_are_refused(site: TableSite) -> None:
    other = site.params.evaluate["glf"].model_copy(update={"latent_count": 1})
    params = site.params.model_copy(update={"evaluate": {**site.params.evaluate, "glf": other}})
    with pytest.raises(UserError, match=r"evaluate.vae and evaluate.glf differ"):
        tabulate.main("mnist", params)


def test_claims_are_of_models_in_the_table() -> None:
    claim = {"says": "x", "falling": ["vae", "gan"], "towards": None}
    with pytest.raises(ValidationError, match="not there: gan"):
        Table.model_validate({**TABLE, "claims": {"x": claim}})
