"""What a result depends on, as one hash: settings, inputs, code."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

REPOSITORY = Path(__file__).resolve().parents[2]
TRAINING_CODE = (
    "components/datasets",
    "components/learners",
    "components/metrics",
    "components/models",
    "components/networks",
    "components/samplers",
    "pipelines/judging",
    "pipelines/runtime",
    "pipelines/training",
)
MANIFEST = "manifest.json"
"""Lists the SHA-256 of a data set's shards: they need not be read again."""


def identity(settings: Mapping[str, Any], inputs: Iterable[Path], stage: str) -> str:
    """Hash all that a training's result is a function of.

    Args:
        settings: the entry of params.yaml, as plain values.
        inputs: folders that are read: data, base, what the choice of the kept weights needs.
        stage: whose module belongs to the code.

    Returns:
        16 hexadecimal digits.
    """
    digest = hashlib.sha256(json.dumps([settings, torch.__version__], sort_keys=True).encode())
    sources = [REPOSITORY / "pipelines" / "stages" / f"{stage}.py"]
    for code in TRAINING_CODE:
        sources.extend(sorted((REPOSITORY / code).rglob("*.py")))
    for folder in inputs:
        sources.extend(_content(folder))
    for file in sources:
        with file.open("rb") as content:
            digest.update(hashlib.file_digest(content, "sha256").digest())
    return digest.hexdigest()[:16]


def _content(folder: Path) -> list[Path]:
    """The files that say what a folder of inputs holds."""
    if (folder / MANIFEST).is_file():
        return [folder / MANIFEST]
    return sorted(file for file in folder.rglob("*") if file.is_file())
