"""The stages compare and report, from the files of the other stages to the page."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from components.errors import UserError
from pipelines.runtime.identity import REPOSITORY
from pipelines.runtime.settings import load_params
from pipelines.stages import compare, report
from tests.pipelines.pages import Page
from tests.pipelines.site import TITLE, Site

TABLES = (
    "mnist",
    "fashion",
    "short-run-mnist",
    "short-run-fashion",
    "flows",
    "denoising-25-gaussians",
    "denoising-mnist",
    "denoising-stacked-mnist",
)


def test_every_study_named_is_one_that_is_there() -> None:
    """Its command makes the page."""
    for link in load_params(REPOSITORY / "params.yaml").report["index"].studies:
        file, _, target = link.command.removeprefix("dvc repro ").partition(":")
        params = load_params(REPOSITORY / Path(file).parent / "params.yaml")
        tables = {
            f"{stage}@{name}": f"tables/{name}/index.html"
            for stage in ("tabulate", "tabulate_flows", "tabulate_denoising")
            for name in getattr(params, stage)
        }
        assert link.page in tables.values()
        assert not target or tables[target] == link.page


def test_the_page_is_well_formed_and_needs_nothing_else(reported: Path) -> None:
    text = (reported / "report/index.html").read_text()
    page = Page(text)
    assert page.open == []
    assert "script" not in page.tags
    assert "link" not in page.tags
    assert "url(" not in text and "@import" not in text
    outside = {a for a in page.addresses if not a.startswith(("data:image/png;base64,", "#"))}
    assert outside == {
        "sweeps/vaebm-fashion-langevin/index.html",
        "sweeps/vaebm-toy-training/index.html",
        *(f"tables/{page}/index.html" for page in TABLES),
    }
    anchors = {a.removeprefix("#") for a in page.addresses if a.startswith("#")}
    assert anchors == {"toy", "fashion", "sweeps", "studies", "workflow"} <= set(page.ids)


def test_the_page_shows_what_was_measured(reported: Path) -> None:
    page = Page((reported / "report/index.html").read_text())
    for shown in (
        TITLE,
        "−1.500 ± 0.010",
        "truth −1.098",
        "40.00 ± 0.50",
        "× 0.50",
        "57.10 → 38.10",
        "None of these distances is an FID",
        "91.3 % test accuracy",
        "over 4,000 test points",
        "log Z is 0.1234, integrated on a grid (error 0.0001); importance sampling from the base "
        "gives 0.1238 ± 0.002",
        "swiss-roll 100 0.800 0.800",
        "dvc repro evaluate@vaebm-fashion",
        "dvc repro pipelines/sweeps/dvc.yaml:sweep@vaebm-fashion-langevin",
        "latent flow and its rivals on MNIST dvc repro pipelines/latent_flow/dvc.yaml",
    ):
        assert shown in page.text, shown
    for stem in ("samples of the base", "chains, started", "training of vaebm-toy", "true density"):
        assert any(stem in text for text in page.pictures), stem
    assert all(page.pictures), "each picture has a text"


def test_inception_makes_it_an_fid(site: Site) -> None:
    for name, value in (("vae-fashion", 57.0), ("vaebm-fashion", 38.0)):
        path = site.root / f"metrics/evaluate/{name}.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "fid": value}))
    compare.main("fashion", site.params)
    folder = site.root / "report/comparisons/index/fashion"
    text = Page((folder / "section.html").read_text()).text
    assert "is an FID" not in text
    assert "FID, Inception-v3 lower is better 57.00 38.00 × 0.67" in text


def test_the_table_for_the_terminal_is_aligned(reported: Path) -> None:
    lines = (reported / "report/index.txt").read_text().splitlines()
    start = lines.index("toy (25-gaussians)")
    head, first = lines[start + 1 : start + 3]
    assert first.split()[:3] == ["Test", "log-likelihood,", "nats"]
    end = head.index("composition") + len("composition")
    assert first[:end].endswith("−1.500 ± 0.010")


def test_a_page_shows_its_own_comparisons_alone(reported: Path, site: Site) -> None:
    shutil.copytree(reported / "report", site.root / "report")
    elsewhere = site.params.compare["toy"].model_copy(update={"page": "other"})
    params = site.params.model_copy(update={"compare": {**site.params.compare, "toy": elsewhere}})
    report.main("index", params)
    text = (site.root / "report/index.txt").read_text()
    assert "fashion (fashion-mnist)" in text and "toy (25-gaussians)" not in text


@pytest.mark.parametrize(
    ("file", "content", "complaint"),
    [
        ("table.json", None, r"needs .*table\.json, .* run dvc repro compare@toy$"),
        ("section.html", None, r"needs .*section\.html, .* run dvc repro compare@toy$"),
        ("table.json", b'{"rows": [', r"table\.json cannot be read .* run dvc repro compare@toy$"),
        ("table.json", b'{"rows": []}', r"table\.json cannot be read .* dvc repro compare@toy$"),
    ],
)
def test_a_section_that_is_not_whole_is_named(
    reported: Path, site: Site, file: str, content: bytes | None, complaint: str
) -> None:
    shutil.copytree(reported / "report/comparisons", site.root / "report/comparisons")
    path = site.root / "report/comparisons/index/toy" / file
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=complaint):
        report.main("index", site.params)
    assert not list((site.root / "report").glob("index.*"))


def test_an_unknown_page_names_the_known_ones(site: Site) -> None:
    with pytest.raises(UserError, match=r"no entry report\.other .* there are: index"):
        report.main("other", site.params)


def test_a_page_without_comparisons_is_refused(site: Site) -> None:
    params = site.params.model_copy(update={"compare": {}})
    with pytest.raises(UserError, match="no comparison is for the page index"):
        report.main("index", params)
