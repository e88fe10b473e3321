"""A small but complete set of the files that comparisons read, made from arrays."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_digits

from components.datasets.shards import RawSplit, write_shards
from components.plots.grids import image_grid, save_png
from components.plots.histograms import score_histogram
from pipelines.runtime.identity import REPOSITORY
from pipelines.runtime.settings import Params, Report, load_params

TITLE = "VAE & VAEBM <small>"
STEPS = [0, 2, 5, 10, 15]
TOY = {
    "base": {"log_likelihood": -2.9, "log_likelihood_std_error": 0.02, "off_mode_fraction": 0.41},
    "composition": {
        "log_likelihood": -1.5,
        "log_likelihood_std_error": 0.01,
        "off_mode_fraction": 0.05,
        "log_z": 0.1234,
        "log_z_error": 1e-4,
        "log_z_importance": 0.1238,
        "log_z_importance_error": 2e-3,
        "test_count": 4000,
    },
}
FASHION = {
    "base": {"frechet_classifier": 40.0, "frechet_classifier_std": 0.5, "recall_classifier": 0.61},
    "composition": {
        "frechet_classifier": 20.0,
        "frechet_classifier_std": 0.4,
        "recall_classifier": 0.55,
    },
}


@dataclass(frozen=True)
class Site:
    """A folder with all inputs of both comparisons, and the settings."""

    root: Path
    params: Params


def build_site(root: Path) -> Site:
    """Write all inputs of a comparison of points and of one of images below a folder."""
    generator = np.random.default_rng(0)
    params = load_params(REPOSITORY / "params.yaml")
    params = params.model_copy(
        update={"report": {"index": Report(title=TITLE, studies=params.report["index"].studies)}}
    )
    shutil.copy(REPOSITORY / "dvc.yaml", root / "dvc.yaml")
    extent = params.evaluate["vaebm-toy"].model_dump()["extent"]
    centres = np.stack(np.meshgrid(*2 * [np.linspace(-0.7, 0.7, 5) * extent]), -1).reshape(-1, 2)
    points = centres[generator.integers(25, size=2000)].astype(np.float32)
    noise = generator.normal(size=points.shape).astype(np.float32)
    digits = load_digits().images.repeat(3, axis=1).repeat(3, axis=2)
    images = np.pad(digits / 16 * 255, ((0, 0), (2, 2), (2, 2))).astype(np.uint8)[:400, None]
    write_data(root, "25-gaussians", points + 0.1 * noise)
    write_data(root, "fashion-mnist", images)
    write_json(root / "metrics/features/25-gaussians.json", {"log_likelihood_true": -1.098})
    write_json(root / "metrics/features/fashion-mnist.json", {"test_accuracy": 0.913})
    toy_chain = np.stack([points + (0.9 - 0.8 * k / 4) * noise for k in range(5)])[:, :500]
    blurred: np.ndarray = (0.5 * images + 0.5 * images.mean(axis=0)).astype(np.uint8)
    chain = np.stack([(k * images.astype(int) + (4 - k) * blurred) // 4 for k in range(5)])
    write_model(root, "vae-toy", points + 0.9 * noise, None, TOY["base"])
    write_model(root, "vaebm-toy", points + 0.1 * noise, toy_chain, TOY["composition"])
    write_model(root, "vae-fashion", blurred, None, FASHION["base"])
    write_model(
        root, "vaebm-fashion", images, chain[:, :10].astype(np.uint8), FASHION["composition"]
    )
    return Site(root, params)


def write_model(
    root: Path,
    name: str,
    items: np.ndarray,
    chain: np.ndarray | None,
    figures: Mapping[str, Any],
) -> None:
    """Write what all stages leave about one model."""
    stage = "pretrain" if chain is None else "compose"
    points = items.ndim == 2
    generator = np.random.default_rng(1)
    write_json(
        root / f"metrics/{stage}/{name}.json",
        {"steps": 800, "kept_step": 600, "rollbacks": 0, "seconds": 95.4, "parameters": 34567},
    )
    columns = ("elbo", "kl") if stage == "pretrain" else ("loss", "energy_data", "energy_chain")
    rows = [",".join(("step", *columns))]
    for step in range(10, 810, 10):
        values = np.exp(-step / 200) + 0.05 * generator.normal(size=len(columns))
        rows.append(",".join([str(step), *(f"{value:.5g}" for value in values)]))
    write_text(root / f"plots/{stage}/{name}/training.csv", "\n".join(rows) + "\n")
    write_text(root / f"plots/{stage}/{name}/validation.csv", "step,validation_x\n200,2\n600,1\n")
    sampling = {"count": len(items), "draws": 3, "seed": 0, "seconds_per_1000": 1.25}
    sampling |= {"nfe": 1, "chain_steps": []} if chain is None else {"nfe": 15}
    if chain is not None:
        sampling |= {"chain_steps": STEPS, "acceptance_rate": 0.87}
    write_json(root / f"samples/{name}/sampling.json", sampling)
    np.save(root / f"samples/{name}/draw-0.npy", items)
    if chain is not None:
        np.save(root / f"samples/{name}/chain.npy", chain)
    judged = {**figures, "ood_count": 100, "auroc_swiss-roll" if points else "auroc_mnist": 0.8}
    judged |= {"log_likelihood_true": -1.098} if points else {"frechet_classifier_floor": 1.5}
    write_json(root / f"metrics/evaluate/{name}.json", judged)
    folder = root / f"plots/evaluate/{name}"
    folder.mkdir(parents=True)
    if points:
        density = np.histogram2d(items[:, 1], items[:, 0], bins=60, density=True)[0]
        numbers = root / f"judged/{name}"
        numbers.mkdir(parents=True)
        np.savez(numbers / "density.npz", truth=density, model=density)
    else:
        scores = {"test": generator.normal(size=200), "mnist": generator.normal(-3, size=200)}
        save_png(score_histogram(scores, "log p(x) + constant, nats"), folder / "ood.png")
        save_png(image_grid(items[:20], 10), folder / "samples.png")


def write_data(root: Path, name: str, items: np.ndarray) -> None:
    """Write a data set's shards, train and test alike."""
    split = RawSplit(len(items), [(items, None)])
    write_shards(
        root / "data/shards" / name,
        {"train": split, "test": split},
        name=name,
        kind="points" if items.ndim == 2 else "images",
        shape=items.shape[1:],
        classes=(),
        shard_megabytes=1,
    )


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file and its folders."""
    write_text(path, json.dumps(content))


def write_text(path: Path, text: str) -> None:
    """Write a file and its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
