"""The whole stage, from files to page."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from components.errors import UserError
from pipelines.stages import report


class Page(HTMLParser):
    """What a page holds: tags that stay open, addresses, anchors, texts of pictures."""

    VOID = frozenset({"meta", "img", "link", "br", "hr", "input"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.ids: list[str] = []
        self.pictures: list[str] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.tags.append(tag)
        self.addresses += [v for k, v in attrs if k in ("src", "href") and v is not None]
        self.ids += [v for k, v in attrs if k == "id" and v is not None]
        if tag == "img":
            self.pictures.append(values["alt"] or "")
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes another tag"

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def test_the_page_is_well_formed_and_needs_nothing_else(reported: Path) -> None:
    text = (reported / "report/index.html").read_text()
    page = Page(text)
    assert page.open == []
    assert "script" not in page.tags
    assert "link" not in page.tags
    assert "url(" not in text and "@import" not in text
    outside = [a for a in page.addresses if not a.startswith(("data:image/png;base64,", "#"))]
    assert outside == []
    anchors = {a.removeprefix("#") for a in page.addresses if a.startswith("#")}
    assert anchors == {"toy", "fashion", "workflow"} <= set(page.ids)


def test_the_page_shows_what_was_measured(reported: Path) -> None:
    page = Page((reported / "report/index.html").read_text())
    for shown in (
        "VAE & VAEBM <small>",
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
    ):
        assert shown in page.text, shown
    for stem in ("samples of the base", "chains, started", "training of vaebm-toy", "density of"):
        assert any(stem in text for text in page.pictures), stem
    assert all(page.pictures), "each picture has a text"


def test_inception_makes_it_an_fid(site) -> None:
    for name, value in (("vae-fashion", 57.0), ("vaebm-fashion", 38.0)):
        path = site.root / f"metrics/evaluate/{name}.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "fid": value}))
    report.main("main", site.params)
    text = Page((site.root / "report/index.html").read_text()).text
    assert "is an FID" not in text
    assert "FID (Inception-v3) lower is better 57.00 38.00 × 0.67" in text


def test_the_same_inputs_give_the_same_files(site, reported: Path) -> None:
    report.main("main", site.params)
    for name in ("report/index.html", "report/table.txt", "metrics/report.json"):
        assert (site.root / name).read_bytes() == (reported / name).read_bytes()


def test_numbers_for_metrics(reported: Path) -> None:
    numbers = json.loads((reported / "metrics/report.json").read_text())
    assert numbers["fashion.frechet_classifier_ratio"] == 0.5
    assert numbers["toy.log_likelihood_difference"] == pytest.approx(1.4)
    assert numbers["toy.log_likelihood_gap"] == pytest.approx(0.402)
    assert numbers["toy.log_likelihood_gap_base"] == pytest.approx(1.802)


def test_the_table_for_the_terminal_is_aligned(reported: Path) -> None:
    lines = (reported / "report/table.txt").read_text().splitlines()
    start = lines.index("toy (25-gaussians)")
    head, first = lines[start + 1 : start + 3]
    assert first.split()[:3] == ["Test", "log-likelihood,", "nats"]
    end = head.index("composition") + len("composition")
    assert first[:end].endswith("−1.500 ± 0.010")


@pytest.mark.parametrize(
    ("path", "command"),
    [
        ("metrics/evaluate/vae-toy.json", "dvc repro evaluate@vae-toy"),
        ("metrics/compose/vaebm-toy.json", "dvc repro compose@vaebm-toy"),
        ("plots/pretrain/vae-fashion/training.csv", "dvc repro pretrain@vae-fashion"),
        ("samples/vaebm-fashion/chain.npy", "dvc repro sample@vaebm-fashion"),
        ("metrics/features/fashion-mnist.json", "dvc repro features@fashion-mnist"),
    ],
)
def test_a_missing_file_is_named_with_its_remedy(site, path: str, command: str) -> None:
    (site.root / path).unlink()
    with pytest.raises(UserError) as caught:
        report.main("main", site.params)
    assert path in str(caught.value)
    assert str(caught.value).endswith(command)
    assert not (site.root / "report").exists()


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("metrics/evaluate/vae-toy.json", b'{"log_like'),
        ("metrics/evaluate/vae-toy.json", b"[]"),
        ("samples/vae-toy/draw-0.npy", b"\x93NUMPY\x01\x00v\x00{'descr'"),
        ("plots/pretrain/vae-toy/training.csv", b"step,elbo\n1,two\n"),
    ],
)
def test_a_broken_file_is_named(site, path: str, content: bytes) -> None:
    (site.root / path).write_bytes(content)
    with pytest.raises(UserError, match=r"cannot be read .* dvc repro \w+@vae-toy") as caught:
        report.main("main", site.params)
    assert path in str(caught.value)


def test_an_old_report_stays_when_a_new_one_fails(site) -> None:
    old = site.root / "report/index.html"
    old.parent.mkdir()
    old.write_text("old")
    (site.root / "metrics/evaluate/vae-toy.json").unlink()
    with pytest.raises(UserError):
        report.main("main", site.params)
    assert old.read_text() == "old"


def test_pickled_samples_are_not_opened(site) -> None:
    np.save(site.root / "samples/vae-toy/draw-0.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(UserError, match="cannot be read"):
        report.main("main", site.params)


def test_an_unknown_report_names_the_known_ones(site) -> None:
    with pytest.raises(UserError, match=r"no entry report\.other in the settings; there are: main"):
        report.main("other", site.params)
