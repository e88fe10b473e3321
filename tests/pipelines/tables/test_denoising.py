"""Tables of denoising models and quality against time: orders, deviations, missing figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from components.errors import UserError
from pipelines.runtime.identity import REPOSITORY
from pipelines.runtime.settings import DenoisingTable, Params, load_params
from pipelines.stages import tabulate_denoising, trade_off
from pipelines.tables.denoising import orders, read_drawn, sheet
from tests.pipelines.test_paper import write_random_shards

PARAMS = load_params(REPOSITORY / "pipelines/diffusion_gan/params.yaml")
# Orders hold, but for modes (as many) and Fréchet distances of t1 and t4 on MNIST (within noise).
POINTS = {
    "gan-25-gaussians": (25.0, 0.5),
    "wgan-gp-25-gaussians": (25.0, 0.7),
    "ddpm-25-gaussians": (25.0, 0.8),
    "ddpm-25-gaussians-500": (25.0, 0.96),
    "ddgan-25-gaussians": (25.0, 0.95),
}
IMAGES = {"ddgan-t1-mnist": 5.1, "ddgan-t4-mnist": 5.0, "ddpm-mnist-ddim4": 50.0}


def write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


def curve(model: str) -> None:
    losses = PARAMS.tabulate_denoising["denoising-mnist"].losses.columns
    validations = ["validation_frechet_classifier", "validation_modes"]
    for file, columns in (
        ("training", ["loss_discriminator", *losses]),
        ("validation", validations),
    ):
        rows = [",".join(["step", *columns])]
        rows += [",".join([str(step), *["0.5"] * len(columns)]) for step in (10, 20)]
        write(Path(f"plots/pretrain/{model}/{file}.csv"), "\n".join(rows))


@pytest.fixture
def judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the stages before leave about the rows of two tables."""
    monkeypatch.chdir(tmp_path)
    write_random_shards("25-gaussians", (2,))
    for name, (modes, quality) in POINTS.items():
        figures = {"seeds": 3, "modes": modes, "high_quality_fraction": quality, "nfe": 4.0}
        figures |= {"high_quality_fraction_true": 0.989, "mode_kl": 0.01, "mode_kl_true": 0.001}
        figures |= {"sampling_seconds": 0.02, "high_quality_fraction_std_over_seeds": 0.01}
        figures |= {"scarcest_mode": 0.7, "scarcest_mode_true": 0.9}
        write(Path(f"metrics/average/{name}.json"), figures)
        folder = Path(f"judged/{name}")
        folder.mkdir(parents=True)
        np.savez(folder / "points.npz", samples=np.zeros((20, 2), np.float32))
    for point in PARAMS.trade_off["mnist"].points:
        distance = IMAGES.get(point.name, 20.0)
        image_row(point.name, distance)
    image_row("ddpm-mnist-all", 9.0)
    for model in ("ddgan-25-gaussians", "gan-25-gaussians", "ddgan-t1-mnist", "ddgan-t4-mnist"):
        curve(model)
    return tmp_path


def image_row(name: str, distance: float) -> None:
    figures = {"count": 5000, "nfe": 4, "sampling_seconds": 0.3, "sampled_count": 100}
    figures |= {"frechet_classifier": distance, "frechet_classifier_std": 0.2}
    figures |= {"recall_classifier": 0.1 * distance, "precision_classifier": 0.8}
    write(Path(f"metrics/evaluate/{name}.json"), figures)
    folder = Path(f"plots/evaluate/{name}")
    folder.mkdir(parents=True)
    Image.new("L", (4, 4)).save(folder / "samples.png")


def table(name: str) -> DenoisingTable:
    return PARAMS.tabulate_denoising[name]


def test_orders_are_held_against_figures(judged: Path) -> None:
    points = table("denoising-25-gaussians")
    verdicts = {each.key: each.verdict for each in orders(points, read_drawn(points))}
    better = dict.fromkeys(("above_gan", "above_wgan", "above_ddpm"), "holds")
    even = dict.fromkeys(("gan_collapses", "gan_leaves_modes_out"), "within noise")
    assert verdicts == better | even
    images = table("denoising-mnist")
    verdicts = {each.key: each.verdict for each in orders(images, read_drawn(images))}
    assert verdicts["t4_nearer_than_t1"] == "within noise"
    assert verdicts["t4_nearer_than_ddim4"] == "holds"
    assert verdicts["t4_more_diverse_than_t1"] == "does not hold"


def test_the_best_is_marked_and_deviations_are_of_their_kind(judged: Path) -> None:
    points = table("denoising-25-gaussians")
    found = sheet(points, read_drawn(points))
    column = [each.key for each in points.columns].index("high_quality_fraction")
    cells = {line.model: (line.cells[column], line.best[column]) for line in found.lines}
    assert cells["ddpm-25-gaussians-500"] == ("0.960 ± 0.010", True)
    assert cells["ddgan-25-gaussians"] == ("0.950 ± 0.010", False)
    images = table("denoising-mnist")
    first = sheet(images, read_drawn(images)).lines[0]
    assert first.cells[0] == "5.10 ± 0.20" and first.cells[1] == "0.510"


@pytest.mark.parametrize("name", ["denoising-25-gaussians", "denoising-mnist"])
def test_a_page_has_the_table_and_the_figures(judged: Path, name: str) -> None:
    tabulate_denoising.main(name, PARAMS)
    page = Path(f"report/tables/{name}/index.html").read_text()
    told = Path(f"report/tables/{name}/index.txt").read_text()
    assert all(row.label in told for row in table(name).rows)
    assert "Figure 6.10" in page and page.count("<img") == (3 if "25" in name else 7)
    flat = json.loads(Path(f"metrics/tabulate_denoising/{name}.json").read_text())
    assert flat[f"{table(name).rows[1].name}_nfe"] == 4.0


def test_what_is_missing_is_named(judged: Path) -> None:
    images = table("denoising-mnist")
    (judged / "metrics/evaluate/ddgan-t1-mnist.json").write_text("{}")
    with pytest.raises(UserError, match=r"ddgan-t1-mnist\.json has no frechet_classifier"):
        sheet(images, read_drawn(images))
    (judged / "metrics/evaluate/ddgan-t1-mnist.json").unlink()
    target = r"pipelines/diffusion_gan/dvc\.yaml:evaluate@ddgan-t1-mnist"
    with pytest.raises(UserError, match=rf"run dvc repro {target}"):
        read_drawn(images)


def test_quality_is_drawn_against_time(judged: Path) -> None:
    trade_off.main("mnist", PARAMS)
    pictures = {path.stem for path in Path("plots/trade_off/mnist").glob("*.png")}
    assert pictures == {"time", "evaluations"}
    flat = json.loads(Path("metrics/trade_off/mnist.json").read_text())
    assert flat["ddgan-t4-mnist_frechet_classifier"] == 5.0
    assert flat["ddgan-t4-mnist_sampling_seconds"] == 0.3


def test_distances_of_other_numbers_of_items_are_refused(judged: Path) -> None:
    file = Path("metrics/evaluate/ddgan-t8-mnist.json")
    file.write_text(json.dumps(json.loads(file.read_text()) | {"count": 500}))
    with pytest.raises(UserError, match="judges 500 items, not 5000"):
        trade_off.main("mnist", PARAMS)


def test_an_order_is_of_rows() -> None:
    content = PARAMS.model_dump()
    content["tabulate_denoising"]["denoising-mnist"]["orders"]["t4_nearer_than_t1"]["rising"] = [
        "ddgan-t4-mnist",
        "ddgan-t3-mnist",
    ]
    with pytest.raises(ValueError, match="not there: ddgan-t3-mnist"):
        Params.model_validate(content)
