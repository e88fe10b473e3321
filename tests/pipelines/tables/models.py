"""A small but complete set of the files that a table reads, made from arrays."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_digits

from components.plots.grids import image_grid, save_png
from components.plots.rows import interpolation_grid, neighbour_grid, reconstruction_grid
from pipelines.runtime.identity import REPOSITORY
from pipelines.runtime.settings import Params, load_params
from tests.pipelines.site import write_data, write_json, write_text

WORKFLOW = "pipelines/latent_flow/dvc.yaml"
OPTIMISER = {
    "learning_rate": 1e-3,
    "betas": [0.9, 0.999],
    "weight_decay": 0.0,
    "warmup_steps": 0,
    "decay": "constant",
    "clip_deviations": None,
    "ema": 0.0,
}
PLAN = {
    "batch_size": 100,
    "precision": "float32",
    "accumulation": 1,
    "steps": 500,
    "log_every": 10,
    "checkpoint_every": 100,
    "validate_every": 100,
    "validation_count": 100,
    "stop_gain": None,
    "max_rollbacks": 2,
}
JUDGING = {
    "kind": "latent-images",
    "data": "mnist",
    "extractors": ["classifier"],
    "inception_weights": None,
    "precision_recall": {"clusters": 20, "runs": 10},
    "latent_count": 1000,
    "neighbours": {"samples": 8, "nearest": 5},
    "interpolations": {"lines": 6, "points": 10},
}
# Label, distance, its deviation, the dissertation's FID, blur of the pictures.
MODELS: dict[str, tuple[str, float, float, float | None, float]] = {
    "vae": ("VAE <β = 1>", 40.0, 0.4, 28.2, 0.6),
    "vae-flow-prior": ("VAE + flow prior", 39.5, 0.5, 28.3, 0.55),
    "vae-flow-prior-b400": ("VAE + flow prior, β = 400", 16.0, 0.3, None, 0.2),
    "glf": ("GLF", 14.0, 0.2, 8.2, 0.15),
    "two-stage-vae": ("Two-stage VAE", 13.0, 0.4, 10.9, 0.25),
    "rae-gmm": ("RAE + GMM", 15.0, 0.2, 10.8, 0.2),
}
COMPOSED = {"two-stage-vae": "vae", "rae-gmm": "glf"}
TABLE = {
    "title": "Generative latent flow on MNIST",
    "data": "mnist",
    "workflow": WORKFLOW,
    "extractor": "classifier",
    "rows": [
        {"model": name, "label": label, "paper_fid": fid}
        for name, (label, _, _, fid, _) in MODELS.items()
    ],
    "claims": {
        "glf_below_vae": {"says": "GLF is below VAE", "falling": ["vae", "glf"], "towards": None},
        "glf_below_two_stage": {
            "says": "GLF is below two-stage VAE",
            "falling": ["two-stage-vae", "glf"],
            "towards": None,
        },
        "flow_prior_helps": {
            "says": "A flow prior alone helps little",
            "falling": ["vae", "vae-flow-prior"],
            "towards": None,
        },
        "beta_nears_glf": {
            "says": "VAE + flow prior nears GLF as β grows",
            "falling": ["vae-flow-prior", "vae-flow-prior-b400"],
            "towards": "glf",
        },
    },
    "curves": [
        {
            "title": "−Σ log σ / 2",
            "column": "entropy",
            "models": ["vae", "vae-flow-prior", "vae-flow-prior-b400"],
        },
        {
            "title": "NLL of z, nats",
            "column": "nll",
            "models": ["vae-flow-prior", "vae-flow-prior-b400", "glf"],
        },
        {
            "title": "Fréchet distance from held-out images",
            "column": "validation_frechet_classifier",
            "models": ["vae-flow-prior", "vae-flow-prior-b400", "glf"],
        },
    ],
}


@dataclass(frozen=True)
class TableSite:
    """A folder with all inputs of a table, and the settings."""

    root: Path
    params: Params


def build_table_site(root: Path) -> TableSite:
    """Write all inputs of a table below a folder: 600 training images, 500 steps of 100."""
    pictures = load_digits().images[:600].repeat(3, axis=1).repeat(3, axis=2)
    images = np.pad(pictures / 16 * 255, ((0, 0), (2, 2), (2, 2))).astype(np.uint8)[:, None]
    write_data(root, "mnist", images)
    for number, name in enumerate(MODELS):
        _write_model(root, name, images, np.random.default_rng(number))
    base = load_params(REPOSITORY / "params.yaml")
    content = {
        "runtime": base.runtime.model_dump(mode="json"),
        "pretrain": {name: _pretrain(name) for name in MODELS if name not in COMPOSED},
        "compose": {name: _compose(name) for name in COMPOSED},
        "evaluate": dict.fromkeys(MODELS, JUDGING),
        "tabulate": {"mnist": TABLE},
    }
    return TableSite(root, Params.model_validate(content))


def _write_model(root: Path, name: str, images: np.ndarray, generator: np.random.Generator) -> None:
    _, distance, deviation, _, blur = MODELS[name]
    composed = name in COMPOSED
    stage = "compose" if composed else "pretrain"
    write_json(
        root / f"metrics/{stage}/{name}.json",
        {"steps": 1 if name == "rae-gmm" else 500, "kept_step": 500, "rollbacks": 0, "seconds": 50},
    )
    rows = ["step,reconstruction,nll,entropy,latent_scale"]
    for step in range(10, 510, 10):
        noise = 0.05 * generator.normal(size=3)
        decay = np.exp(-step / 150)
        values = (50 + 400 * decay, 20 * blur + 10 * decay + noise[0])
        entropy = "" if name == "glf" else f"{10 * (1 - blur) * (1 - decay) + noise[1]:.4f}"
        rows.append(f"{step},{values[0]:.4f},{values[1]:.4f},{entropy},{1 + noise[2]:.4f}")
    write_text(root / f"plots/{stage}/{name}/training.csv", "\n".join(rows) + "\n")
    validation = f"step,validation_frechet_classifier\n200,{3 * distance}\n500,{distance}\n"
    write_text(root / f"plots/{stage}/{name}/validation.csv", validation)
    figures: dict[str, Any] = {
        "count": 1000,
        "draws": 3,
        "frechet_classifier": distance,
        "frechet_classifier_std": deviation,
        "frechet_classifier_floor": 0.52,
        "f8_classifier": 1 - blur / 4,
        "f8_classifier_std": 0.002,
        "f8_classifier_ceiling": 0.998,
        "f1_8_classifier": 1 - blur / 2,
        "f1_8_classifier_std": 0.003,
        "f1_8_classifier_ceiling": 0.997,
        "latent_count": 1000,
        "reconstruction_mse": 0.03 * blur,
        "latent_scale": 1.1,
        "neighbour_distance": 4.2,
    }
    if name != "two-stage-vae":
        figures |= {"latent_nll": -12.5, "latent_bits_per_dim": -0.9}
    if name.startswith("vae"):
        figures |= {"posterior_entropy_figure": 9.5, "posterior_variance": 2.5e-5}
    write_json(root / f"metrics/evaluate/{name}.json", figures)
    folder = root / f"plots/evaluate/{name}"
    folder.mkdir(parents=True)
    blurred = ((1 - blur) * images + blur * images.mean(axis=0)).astype(np.uint8)
    own = generator.permutation(len(images))
    ends = blurred[own[:12]].reshape(2, 6, 1, 28, 28).astype(float)
    share = np.linspace(0, 1, 10)[None, :, None, None, None]
    lines = (1 - share) * ends[0][:, None] + share * ends[1][:, None]
    save_png(image_grid(blurred[own[:100]], 10), folder / "samples.png")
    save_png(interpolation_grid(lines.astype(np.uint8)), folder / "interpolations.png")
    save_png(reconstruction_grid(images[:30], blurred[:30], 10), folder / "reconstructions.png")
    near = images[own[:40]].reshape(8, 5, 1, 28, 28)
    save_png(neighbour_grid(blurred[own[:8]], near), folder / "neighbours.png")


def _pretrain(name: str) -> dict[str, Any]:
    point, flow = name == "glf", name != "vae"
    return {
        "kind": "latent",
        "data": "mnist",
        "seed": 0,
        "network": {"kind": "infogan", "width": 8, "hidden": 32},
        "latent": 20,
        "posterior": {"kind": "point" if point else "gaussian"},
        "prior": {"kind": "flow", "blocks": 4, "hidden": 64} if flow else {"kind": "normal"},
        "reconstruction": {"kind": "squared", "weight": 1.0},
        "stop_gradient": point,
        "penalty": {"kind": "none"},
        "optimiser": OPTIMISER,
        "prior_optimiser": OPTIMISER if flow else None,
        "plan": PLAN,
        "select": {"kind": "last"},
    }


def _compose(name: str) -> dict[str, Any]:
    mixture = name == "rae-gmm"
    prior = {"kind": "vae", "hidden": [32]}
    if mixture:
        prior = {"kind": "mixture", "components": 10, "rounds": 100}
    return {
        "kind": "latent-prior",
        "base": COMPOSED[name],
        "data": "mnist",
        "seed": 0,
        "prior": prior,
        "optimiser": None if mixture else OPTIMISER,
        "plan": {**PLAN, "steps": 1} if mixture else PLAN,
        "select": {"kind": "last"},
    }
