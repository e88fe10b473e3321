"""The compare stage: its inputs and its numbers. What it shows: see the report's tests."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from components.errors import UserError
from pipelines.stages import compare, report
from tests.pipelines.site import Site


def test_the_same_inputs_give_the_same_files(site: Site, reported: Path) -> None:
    for name in site.params.compare:
        compare.main(name, site.params)
    report.main("index", site.params)
    files = [path.relative_to(reported) for path in (reported / "report").rglob("*.*")]
    files += [Path(f"metrics/compare/{name}.json") for name in site.params.compare]
    assert len(files) == 8
    for file in files:
        assert (site.root / file).read_bytes() == (reported / file).read_bytes()


def test_numbers_for_metrics(reported: Path) -> None:
    toy, fashion = (
        json.loads((reported / f"metrics/compare/{name}.json").read_text())
        for name in ("toy", "fashion")
    )
    assert fashion["frechet_classifier_ratio"] == 0.5
    assert toy["log_likelihood_difference"] == pytest.approx(1.4)
    assert toy["log_likelihood_gap"] == pytest.approx(0.402)
    assert toy["log_likelihood_gap_base"] == pytest.approx(1.802)


@pytest.mark.parametrize(
    ("comparison", "path", "command"),
    [
        ("toy", "metrics/evaluate/vae-toy.json", "dvc repro evaluate@vae-toy"),
        ("toy", "metrics/compose/vaebm-toy.json", "dvc repro compose@vaebm-toy"),
        ("toy", "judged/vae-toy/density.npz", "dvc repro evaluate@vae-toy"),
        ("fashion", "plots/pretrain/vae-fashion/training.csv", "dvc repro pretrain@vae-fashion"),
        ("fashion", "samples/vaebm-fashion/chain.npy", "dvc repro sample@vaebm-fashion"),
        ("fashion", "metrics/features/fashion-mnist.json", "dvc repro features@fashion-mnist"),
    ],
)
def test_a_missing_file_is_named_with_its_remedy(
    site: Site, comparison: str, path: str, command: str
) -> None:
    (site.root / path).unlink()
    with pytest.raises(UserError) as caught:
        compare.main(comparison, site.params)
    assert path in str(caught.value)
    assert str(caught.value).endswith(command)
    assert not (site.root / "report").exists()


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("metrics/evaluate/vae-toy.json", b'{"log_like'),
        ("metrics/evaluate/vae-toy.json", b"[]"),
        ("samples/vae-toy/draw-0.npy", b"\x93NUMPY\x01\x00v\x00{'descr'"),
        ("judged/vae-toy/density.npz", b"PK\x03\x04 cut short"),
        ("plots/pretrain/vae-toy/training.csv", b"step,elbo\n1,two\n"),
    ],
)
def test_a_broken_file_is_named(site: Site, path: str, content: bytes) -> None:
    (site.root / path).write_bytes(content)
    with pytest.raises(UserError, match=r"cannot be read .* dvc repro \w+@vae-toy") as caught:
        compare.main("toy", site.params)
    assert path in str(caught.value)


def test_an_old_section_stays_when_a_new_one_fails(site: Site) -> None:
    old = site.root / "report/comparisons/index/toy/section.html"
    old.parent.mkdir(parents=True)
    old.write_text("old")
    (site.root / "metrics/evaluate/vae-toy.json").unlink()
    with pytest.raises(UserError):
        compare.main("toy", site.params)
    assert old.read_text() == "old"


def test_pickled_samples_are_not_opened(site: Site) -> None:
    np.save(site.root / "samples/vae-toy/draw-0.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(UserError, match="cannot be read"):
        compare.main("toy", site.params)


def test_data_that_the_models_were_not_judged_on_are_refused(site: Site) -> None:
    other = site.params.compare["toy"].model_copy(update={"data": "swiss-roll"})
    params = site.params.model_copy(update={"compare": {"toy": other}})
    with pytest.raises(UserError, match=r"its data are swiss-roll, but .* on 25-gaussians"):
        compare.main("toy", params)
