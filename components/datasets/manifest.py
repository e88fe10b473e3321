"""What a folder of shards holds: ``manifest.json``."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from components.errors import UserError


@dataclass(frozen=True)
class Shard:
    """One tar file: its name in the folder, the number of its items, and its SHA-256."""

    name: str
    count: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What a folder of shards holds.

    Args:
        name: the data set's name.
        kind: ``images`` or ``points``.
        shape: of one item: (C, H, W) or (D,).
        dtype: ``uint8`` or ``float32``.
        classes: names of the labels' values; empty without labels.
        mean: of the train split, per channel in [0, 1] or per coordinate.
        splits: the shards of each split, in order.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    dtype: str
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    splits: Mapping[str, tuple[Shard, ...]]

    @classmethod
    def load(cls, folder: Path) -> Manifest:
        """Read ``manifest.json``.

        Raises:
            UserError: it is missing or damaged.
        """
        path = folder / "manifest.json"
        try:
            fields = json.loads(path.read_text())
            splits = {
                split: tuple(Shard(_plain(s["name"]), int(s["count"]), s["sha256"]) for s in shards)
                for split, shards in fields["splits"].items()
            }
            return cls(
                name=str(fields["name"]),
                kind=str(fields["kind"]),
                shape=tuple(map(int, fields["shape"])),
                dtype=np.dtype(fields["dtype"]).name,
                classes=tuple(map(str, fields["classes"])),
                mean=tuple(map(float, fields["mean"])),
                splits=splits,
            )
        except FileNotFoundError as error:
            raise UserError(
                f"no data set in {folder}: {path.name} is missing; {remedy(folder)}"
            ) from error
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise UserError(f"{path} is damaged; {remedy(folder)}") from error

    def save(self, folder: Path) -> None:
        """Write ``manifest.json``."""
        (folder / "manifest.json").write_text(json.dumps(asdict(self), indent=2) + "\n")

    @property
    def item_bytes(self) -> int:
        """Size of one item without its label, bytes."""
        return np.dtype(self.dtype).itemsize * math.prod(self.shape)

    def shards(self, split: str) -> tuple[Shard, ...]:
        """Return the shards of a split.

        Raises:
            UserError: there is no such split.
        """
        if split not in self.splits:
            known = ", ".join(self.splits)
            raise UserError(f"data set {self.name} has no split '{split}'; it has: {known}")
        return self.splits[split]

    def count(self, split: str) -> int:
        """Return the number of items of a split."""
        return sum(shard.count for shard in self.shards(split))


def _plain(name: str) -> str:
    if Path(name).name != name:
        raise ValueError("a shard outside the folder")
    return name


def remedy(folder: Path) -> str:
    """Say how a folder of shards is written again."""
    return f"write it again with: dvc repro --force shard@{folder.name}"
