"""Files that stages leave, read and checked; a complaint names the file and what makes it.

In every function ``target`` is the stage that writes the file, as `dvc repro` takes it. All raise
`UserError` when the file is missing or broken.
"""

from __future__ import annotations

import csv
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.errors import UserError

Figures = Mapping[str, Any]
Array = NDArray[Any]


def read_json(path: Path, target: str) -> dict[str, Any]:
    """A JSON object."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise _missing(path, target) from None
    except ValueError as error:
        raise _broken(path, target, error) from None
    if not isinstance(content, dict):
        raise _broken(path, target, "not a JSON object")
    return content


def read_rows(path: Path, target: str) -> list[dict[str, float]]:
    """Rows of a CSV file of numbers; empty cells stay out."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return [
                {key: float(value) for key, value in row.items() if value}
                for row in csv.DictReader(file)
            ]
    except FileNotFoundError:
        raise _missing(path, target) from None
    except (ValueError, TypeError) as error:
        raise _broken(path, target, error) from None


def read_diverged(curves: Path, target: str) -> list[dict[str, float]]:
    """Rows of the attempts that a training rolled back; none where there is no such file."""
    path = curves / "diverged.csv"
    return read_rows(path, target) if path.exists() else []


def read_array(path: Path, target: str) -> Array:
    """An array of a .npy file; nothing is unpickled."""
    try:
        array: Array = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise _missing(path, target) from None
    except (ValueError, EOFError) as error:
        raise _broken(path, target, error) from None
    return array


def read_arrays(path: Path, target: str) -> dict[str, Array]:
    """The arrays of a .npz file, by name; nothing is unpickled."""
    try:
        # Of a file that is no archive, NumPy would leave its own handle open.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return dict(arrays)
    except FileNotFoundError:
        raise _missing(path, target) from None
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise _broken(path, target, error) from None


def read_pictures(folder: Path, target: str) -> dict[str, bytes]:
    """The PNG files of a folder, by stem."""
    if not folder.is_dir():
        raise _missing(folder, target)
    return {path.stem: path.read_bytes() for path in sorted(folder.glob("*.png"))}


def _missing(path: Path, target: str) -> UserError:
    return UserError(f"{path} is not there: run dvc repro {target}")


def _broken(path: Path, target: str, why: object) -> UserError:
    return UserError(f"{path} cannot be read ({why}): delete it and run dvc repro {target}")
