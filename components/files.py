"""Files and folders that appear whole or not at all: written beside the target, then renamed."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from components.errors import UserError

_TROUBLES = {
    errno.ENOSPC: "the disk is full; free some space and run again",
    errno.EDQUOT: "the disk quota is used up; free some space and run again",
    errno.EFBIG: "a file grew past the allowed size; raise the limit (ulimit -f) and run again",
    errno.EACCES: "permission denied; make the folder writable",
    errno.EPERM: "operation not permitted; make the folder writable",
    errno.EROFS: "the file system is read-only; choose another place",
}
_PROBE_BYTES = 1 << 20


@contextmanager
def whole_folder(destination: Path) -> Iterator[Path]:
    """Give a temporary folder that becomes ``destination`` if the block ends without an error.

    The temporary folder is a hidden sibling, so that the final step is one rename. What an earlier,
    killed run left there is removed. A destination that exists is replaced.

    Args:
        destination: the folder to write.

    Yields:
        The temporary folder, empty.

    Raises:
        UserError: the disk is full, or the place cannot be written. Nothing is left behind.
    """
    with _part_of(destination) as part:
        part.mkdir()
        yield part
        remove(destination)
        part.rename(destination)


@contextmanager
def whole_file(destination: Path) -> Iterator[Path]:
    """Give a temporary name whose file becomes ``destination`` if the block ends without an error.

    Args:
        destination: the file to write; one that exists is replaced, in one step.

    Yields:
        The temporary name, where the block must write a file.

    Raises:
        UserError: the disk is full, or the place cannot be written. Nothing is left behind.
    """
    with _part_of(destination) as part:
        yield part
        os.replace(part, destination)


def remove(path: Path) -> None:
    """Remove a file, a link or a folder, if it is there."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)


@contextmanager
def trouble_said(place: Path, destination: Path) -> Iterator[None]:
    """Turn what libraries raise when the disk is full into one line for the user.

    Args:
        place: file or folder that the block writes.
        destination: what the user knows it by.

    Raises:
        UserError: the disk is full, or the place cannot be written.
    """
    try:
        yield
    except Exception as error:
        reason = _trouble(error, place)
        if reason is None:
            raise
        raise UserError(f"cannot write {destination}: {reason}") from error


@contextmanager
def _part_of(destination: Path) -> Iterator[Path]:
    part = destination.parent / f".{destination.name}.part"
    try:
        with trouble_said(part, destination):
            destination.parent.mkdir(parents=True, exist_ok=True)
            remove(part)
            yield part
    finally:
        remove(part)


def _trouble(error: Exception, place: Path) -> str | None:
    """Say what is wrong with the disk, or None if that is not why ``error`` was raised.

    Only Python's own calls keep the error's number. safetensors puts the system's words into its
    message; NumPy and torch tell nothing but that fewer bytes were written than they had, and
    leave the cut file: whether it can grow shows why.
    """
    if isinstance(error, OSError) and error.errno is not None:
        return _TROUBLES.get(error.errno)
    for number, reason in _TROUBLES.items():
        if os.strerror(number) in str(error):
            return reason
    if isinstance(error, OSError | RuntimeError):
        return _probed(place)
    return None


def _probed(place: Path) -> str | None:
    files = [place] if place.is_file() else [file for file in place.rglob("*") if file.is_file()]
    if not files:
        return None
    newest = max(files, key=lambda file: file.stat().st_mtime_ns)
    try:
        with newest.open("ab") as file:
            file.write(bytes(_PROBE_BYTES))
    except OSError as error:
        return _TROUBLES.get(error.errno or 0)
    return None
