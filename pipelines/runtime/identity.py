"""What a result depends on, as one hash: settings, inputs, code."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
TRAINING_CODE = (
    "components/datasets",
    "components/learners",
    "components/models",
    "components/networks",
    "components/samplers",
    "pipelines/runtime",
)


def identity(settings: Mapping[str, Any], inputs: Iterable[Path], stage: str) -> str:
    """Hash all that a training's result is a function of.

    Args:
        settings: the entry of params.yaml, as plain values.
        inputs: files that say what the data and the base are (manifests, exported models).
        stage: whose module belongs to the code.

    Returns:
        16 hexadecimal digits.
    """
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    sources = [REPOSITORY / "pipelines" / "stages" / f"{stage}.py"]
    for folder in TRAINING_CODE:
        sources.extend(sorted((REPOSITORY / folder).rglob("*.py")))
    for file in (*inputs, *sources):
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:16]
