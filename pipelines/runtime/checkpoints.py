"""Checkpoints on disk, in a folder of this machine or through Ray Train's storage.

A state is tensors and plain values, saved by torch and read back with ``weights_only``: nothing
that could run code is unpickled.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path

import torch

from components.files import trouble_said, whole_folder
from pipelines.runtime.loop import State
from pipelines.runtime.outputs import write_text


def write_state(folder: Path, rank: int, state: State) -> None:
    """Write one worker's state and its checksum into a folder.

    Raises:
        UserError: the disk is full.
    """
    file = folder / f"rank-{rank}.pt"
    torch.save(state, file)
    write_text(file.with_suffix(".sha256"), _digest(file))


def read_state(folder: Path, rank: int) -> State | None:
    """Read one worker's state; None if it is absent or cut short."""
    file = folder / f"rank-{rank}.pt"
    checksum = file.with_suffix(".sha256")
    if not (file.is_file() and checksum.is_file() and checksum.read_text() == _digest(file)):
        return None
    state: State = torch.load(file, map_location="cpu", weights_only=True)
    return state


class FolderStore:
    """Checkpoints in a folder, for training in the stage's own process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def load(self) -> State | None:
        for candidate in reversed(self._saved()):
            state = read_state(candidate, rank=0)
            if state is not None:
                return state
        return None

    def save(self, step: int, state: State) -> None:
        with whole_folder(self.folder / f"step-{step:09d}") as scratch:
            write_state(scratch, 0, state)
        for old in self._saved()[:-2]:
            shutil.rmtree(old)

    def _saved(self) -> list[Path]:
        return sorted(self.folder.glob("step-*"))


class RayStore:
    """Checkpoints through Ray Train: reported by all workers together, kept in its storage."""

    def __init__(self, rank: int) -> None:
        self.rank = rank

    def load(self) -> State | None:
        from ray import train

        checkpoint = train.get_checkpoint()
        if checkpoint is None:
            return None
        with checkpoint.as_directory() as folder:
            return read_state(Path(folder), self.rank)

    def save(self, step: int, state: State) -> None:
        from ray import train

        with tempfile.TemporaryDirectory() as scratch:
            with trouble_said(Path(scratch), Path(scratch)):
                write_state(Path(scratch), self.rank, state)
            train.report({"step": step}, checkpoint=train.Checkpoint.from_directory(scratch))


def _digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
