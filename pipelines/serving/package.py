"""Pack an exported model for MLflow: its weights, the code that rebuilds it, what it takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import mlflow.pyfunc
import numpy as np
import pandas as pd
from mlflow.models import ModelSignature
from mlflow.types.schema import (
    AnyType,
    ColSpec,
    DataType,
    ParamSchema,
    ParamSpec,
    Schema,
    TensorSpec,
)

from components.files import trouble_said
from components.models.build import Description
from components.models.ddpm import DDPMSampler
from components.models.export import read_story
from components.samplers.langevin import LangevinSettings
from pipelines.runtime.identity import REPOSITORY
from pipelines.runtime.tracking import Row

REQUIRED = ("mlflow", "numpy", "pandas", "safetensors", "torch", "torchdiffeq")
"""What the predictor and `components.models` import; MLflow's own search takes a minute."""
EXAMPLE = {"count": [4], "seed": [0]}
GENERATIVE = (
    "vae",
    "vaebm",
    "short-run-ebm",
    "gradient-flow",
    "latent",
    "denoising-gan",
    "ddpm",
    "gan",
)
CHAIN_PARAMS = {
    "steps": DataType.long,
    "step_size": DataType.double,
    "noise_scale": DataType.double,
    "temperature": DataType.double,
}
SAMPLER_PARAMS = {
    "kind": DataType.string,
    "steps": DataType.long,
    "eta": DataType.double,
    "tolerance": DataType.double,
}
"""Of a diffusion model, whose sampler its training does not fix."""
BOUND_SAMPLES = 10
UNDER = "model"


def log_model(row: Row, exported: Path, chain: LangevinSettings | None) -> None:
    """Log an exported model to its row: a generative one as MLflow model, others as they are.

    Args:
        row: of the model.
        exported: the model, as the training stages export it.
        chain: see `save_predictor`.

    Raises:
        UserError: the disk of the temporary folder is full.
    """
    if not _draws(read_story(exported)["model"]):
        row.artifacts(exported, UNDER)
        return
    with TemporaryDirectory() as folder, trouble_said(Path(folder), Path(folder)):
        packed = Path(folder) / UNDER
        save_predictor(packed, exported, chain)
        row.artifacts(packed, UNDER)


def save_predictor(target: Path, exported: Path, chain: LangevinSettings | None) -> None:
    """Write an MLflow model that `mlflow.pyfunc.load_model` loads anywhere.

    Args:
        target: folder to make.
        exported: the model, as the training stages export it.
        chain: how a composition or a short-run EBM is sampled if the caller of `predict` says
            nothing else; None for any other base.
    """
    settings = asdict(chain) if chain is not None else {}
    mlflow.pyfunc.save_model(
        target,
        python_model=str(Path(__file__).with_name("predictor.py")),
        artifacts={"exported": str(exported)},
        code_paths=[str(REPOSITORY / "components")],
        model_config={"chain": settings},
        signature=signature(read_story(exported)["model"], settings),
        input_example=pd.DataFrame(EXAMPLE),
        pip_requirements=[f"{name}=={version(name)}" for name in REQUIRED],
    )


def signature(model: Description, chain: Mapping[str, Any]) -> ModelSignature:
    """What `predict` takes and gives; the outputs are those of drawing.

    Args:
        model: description of a generative model of any kind.
        chain: its chain's settings; none where there is no chain.
    """
    shape = model["base"]["shape"] if "base" in model else model["shape"]
    kind = np.dtype(np.uint8 if len(shape) == 3 else np.float32)
    inputs = Schema(
        [
            ColSpec(DataType.long, "count", required=False),
            ColSpec(DataType.long, "seed", required=False),
            ColSpec(AnyType(), "items", required=False),
        ]
    )
    params = [
        ParamSpec(name, dtype, chain[name]) for name, dtype in CHAIN_PARAMS.items() if name in chain
    ]
    if model["kind"] == "ddpm":
        own = asdict(DDPMSampler(**model["sampler"]))
        params += [ParamSpec(name, dtype, own[name]) for name, dtype in SAMPLER_PARAMS.items()]
    params += [
        ParamSpec("bound_samples", DataType.long, BOUND_SAMPLES),
        ParamSpec("bound_seed", DataType.long, 0),
    ]
    outputs = Schema([TensorSpec(kind, (-1, *shape))])
    return ModelSignature(inputs, outputs, ParamSchema(params))


def _draws(model: Description) -> bool:
    """Whether a model can be sampled: an auto-encoder without a prior cannot."""
    if model["kind"] == "latent" and model["prior"]["kind"] == "none":
        return False
    return model["kind"] in GENERATIVE
