"""Exported models: weights as safetensors, and a JSON of the settings that rebuild the model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from components.errors import UserError
from components.models.build import Description, build_model

WEIGHTS = "weights.safetensors"
MODEL = "model.json"


def export_model(
    folder: Path,
    description: Description,
    weights: Mapping[str, Tensor],
    story: Mapping[str, Any],
) -> None:
    """Write a model into a folder that exists.

    Args:
        folder: where ``weights.safetensors`` and ``model.json`` go.
        description: what `build_model` needs.
        weights: the state dict.
        story: how the model came to be (stage, settings, kept step), for the reader.
    """
    save_file({name: value.contiguous() for name, value in weights.items()}, folder / WEIGHTS)
    content = {"model": description, **story}
    (folder / MODEL).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def read_story(folder: Path) -> dict[str, Any]:
    """The whole of an exported model's JSON.

    Raises:
        UserError: no model there, or its JSON is broken.
    """
    try:
        content = json.loads((folder / MODEL).read_text(encoding="utf-8"))
        content["model"]["kind"]
    except FileNotFoundError:
        raise UserError(f"no exported model in {folder}: run the stage that makes it") from None
    except (ValueError, KeyError, TypeError):  # ValueError: neither UTF-8 nor JSON
        raise UserError(f"{folder / MODEL} is not a model's JSON: make the model again") from None
    return dict(content)


def weights_digest(folder: Path) -> str:
    """SHA-256 of an exported model's weights."""
    with (folder / WEIGHTS).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_model(folder: Path, device: torch.device | str = "cpu") -> nn.Module:
    """Rebuild an exported model, in evaluation mode.

    Args:
        folder: as written by `export_model`.
        device: where the model shall live.

    Raises:
        UserError: no model there, a JSON that lacks a setting, or weights that are not those of
            its settings.
    """
    try:
        model = build_model(read_story(folder)["model"])
    except KeyError as missing:
        raise UserError(f"{folder / MODEL} lacks {missing}: make the model again") from None
    try:
        model.load_state_dict(load_file(folder / WEIGHTS))
    except FileNotFoundError:
        raise UserError(f"no {WEIGHTS} in {folder}: run the stage that makes it") from None
    except (RuntimeError, SafetensorError):
        raise UserError(
            f"{folder / WEIGHTS} does not fit {MODEL} beside it: it was exported by other "
            "settings or cut short; make the model again"
        ) from None
    return model.to(device).eval()
