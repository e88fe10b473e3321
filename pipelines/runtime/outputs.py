"""Small outputs of stages, whole or absent; for folders see `components.files.whole_folder`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from components.files import whole_file


def write_text(target: Path, text: str) -> None:
    """Write a small text file whole or not at all.

    Raises:
        UserError: the disk is full. Nothing is left behind.
    """
    with whole_file(target) as part:
        part.write_text(text, encoding="utf-8")


def write_json(target: Path, content: Any) -> None:
    """Write JSON with stable formatting, whole or not at all."""
    write_text(target, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
