"""Checkpoints in a folder that all workers of a training share.

``step-000000500/rank-0-of-2.pt`` is the first of two workers' states after 500 steps, with its
SHA-256 beside it. A checkpoint counts if the files of all its workers are whole. A state is tensors
and plain values, saved by torch and read back with ``weights_only``: nothing that could run code is
unpickled.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import torch

from components.files import remove, whole_file
from pipelines.runtime.outputs import write_text
from pipelines.runtime.task import State

KEPT = 2
"""Checkpoints of a training on disk; the older one is for when the newer turns out damaged."""
Choice = tuple[str, int] | None
"""A checkpoint's folder and number of workers."""


class FolderStore:
    """One worker's view of the checkpoints of a training.

    Args:
        folder: of all checkpoints, the same for all workers.
        rank: this worker.
        world_size: number of workers.
        say: told which checkpoints are damaged.
        agree: gives all workers what the first one's call returns.
    """

    def __init__(
        self,
        folder: Path,
        rank: int = 0,
        world_size: int = 1,
        say: Callable[[str], None] = lambda line: None,
        agree: Callable[[Callable[[], Choice]], Choice] = lambda make: make(),
    ) -> None:
        self.folder, self.rank, self.world_size = folder, rank, world_size
        self._say, self._agree = say, agree

    def load(self) -> State | None:
        """The newest whole checkpoint's state; None if there is none.

        All workers take the same checkpoint. If another number of workers wrote it, worker r takes
        the state of the writers' r-th, counted in a circle.
        """
        choice = self._agree(self._newest_whole)
        if choice is None:
            return None
        name, writers = choice
        return _read(_state_file(self.folder / name, self.rank % writers, writers))

    def save(self, step: int, state: State) -> None:
        """Write this worker's state; checkpoints older than the last two go.

        Raises:
            UserError: the disk is full. Nothing of the state is left behind.
        """
        folder = self.folder / f"step-{step:09d}"
        file = _state_file(folder, self.rank, self.world_size)
        try:
            with whole_file(file) as part:
                torch.save(state, part)
                write_text(_digest_file(file), _digest(part))
        except BaseException:
            remove(_digest_file(file))
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
            raise
        # The last but one is whole: to come here, all workers had to leave it behind them.
        if self.rank == 0:
            for old in self._saved()[:-KEPT]:
                shutil.rmtree(old)

    def _newest_whole(self) -> Choice:
        """Find what to go on from; what is newer is damaged, and makes way."""
        damaged: list[Path] = []
        choice: Choice = None
        for folder in reversed(self._saved()):
            writers = _whole(folder)
            if writers is not None:
                choice = folder.name, writers
                break
            damaged.append(folder)
        for folder in damaged:
            instead = f"that of {_told(choice[0])} is used" if choice else "training starts afresh"
            self._say(f"the checkpoint of {_told(folder.name)} is damaged or cut short; {instead}")
            shutil.rmtree(folder)
        return choice

    def _saved(self) -> list[Path]:
        return sorted(self.folder.glob("step-*"))


def _whole(folder: Path) -> int | None:
    """Number of workers whose states all lie there whole; None if any is missing or damaged."""
    counts = {
        int(found[1])
        for file in folder.iterdir()
        if (found := re.search(r"-of-(\d+)\.pt$", file.name))
    }
    for count in sorted(counts, reverse=True):
        files = [_state_file(folder, rank, count) for rank in range(count)]
        if all(_undamaged(file) for file in files):
            return count
    return None


def _undamaged(file: Path) -> bool:
    checksum = _digest_file(file)
    return file.is_file() and checksum.is_file() and checksum.read_text() == _digest(file)


def _read(file: Path) -> State:
    state: State = torch.load(file, map_location="cpu", weights_only=True)
    return state


def _state_file(folder: Path, rank: int, world_size: int) -> Path:
    return folder / f"rank-{rank}-of-{world_size}.pt"


def _digest_file(file: Path) -> Path:
    return file.with_suffix(".sha256")


def _digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _told(folder: str) -> str:
    return f"step {int(folder.removeprefix('step-'))}"
