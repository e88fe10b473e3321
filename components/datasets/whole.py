"""Folders that appear whole or not at all."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from components.errors import UserError

_DISK_ERRORS = {
    errno.ENOSPC: "the disk is full; free some space and run again",
    errno.EDQUOT: "the disk quota is used up; free some space and run again",
    errno.EFBIG: "a file grew past the allowed size; raise the limit (ulimit -f) and run again",
    errno.EACCES: "permission denied; make the folder writable",
    errno.EPERM: "operation not permitted; make the folder writable",
    errno.EROFS: "the file system is read-only; choose another place",
}


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
        UserError: the disk is full, or the place cannot be written.
    """
    part = destination.parent / f".{destination.name}.part"
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        remove(part)
        part.mkdir()
        yield part
        remove(destination)
        part.rename(destination)
    except OSError as error:
        if error.errno not in _DISK_ERRORS:
            raise
        raise UserError(f"cannot write {destination}: {_DISK_ERRORS[error.errno]}") from error
    finally:
        remove(part)


def remove(path: Path) -> None:
    """Remove a file, a link or a folder, if it is there."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)
