"""Taking files out of Debian and npm packages, without ever writing where an archive says."""

from __future__ import annotations

import gzip
import io
import lzma
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from components.datasets.catalog import RawFile
from components.datasets.download import SourceError, place

_AR_MAGIC = b"!<arch>\n"
_AR_HEADER = 60


def extract_deb(archive: Path, files: list[RawFile], member: str, folder: Path) -> None:
    """Take files out of a .deb: an ``ar`` archive that holds data.tar, compressed.

    Args:
        archive: the package.
        files: the files wanted.
        member: their path in the package, with ``{}`` for the name.
        folder: where to write them.

    Raises:
        SourceError: the package is damaged, unsafe, or has not those files.
    """
    with _damage_is_said(archive), archive.open("rb") as stream:
        name, size = _find_data(stream)
        content = stream.read(size)
        if len(content) != size:
            raise SourceError(f"{archive.name} is cut short")
        _extract(_decompress(name, content), files, member, folder)


def extract_tgz(archive: Path, files: list[RawFile], member: str, folder: Path) -> None:
    """Take files out of a gzipped tar; arguments and errors as `extract_deb`."""
    with _damage_is_said(archive), gzip.open(archive, "rb") as stream:
        _extract(io.BufferedReader(stream), files, member, folder)


def place_maybe_gzipped(stream: IO[bytes], gzipped: bool, file: RawFile, folder: Path) -> None:
    """Write a stream, unpacked if it is gzipped, as ``folder/file.name`` after checking it.

    Raises:
        SourceError: it is not what the catalogue says.
    """
    with _damage_is_said(Path(file.name)):
        if not gzipped:
            place(stream, file, folder)
            return
        with gzip.open(stream, "rb") as unpacked:
            place(io.BufferedReader(unpacked), file, folder)


def _extract(tar: IO[bytes], files: list[RawFile], member: str, folder: Path) -> None:
    wanted = {member.format(file.name): file for file in files}
    # Files are written under the catalogue's names, so that no name in the archive can lead
    # outside the folder; an archive that tries is refused all the same.
    with tarfile.open(fileobj=tar, mode="r|") as archive:
        for entry in archive:
            path = PurePosixPath(entry.name)
            if path.is_absolute() or ".." in path.parts:
                raise SourceError(f"the archive holds the unsafe path {entry.name!r}")
            file = wanted.pop(str(path), None)
            if file is None:
                continue
            content = archive.extractfile(entry) if entry.isreg() else None
            if content is None:
                raise SourceError(f"{entry.name!r} in the archive is no ordinary file")
            place_maybe_gzipped(content, entry.name.endswith(".gz"), file, folder)
    if wanted:
        raise SourceError(f"the archive has no {', '.join(wanted)}")


def _find_data(stream: IO[bytes]) -> tuple[str, int]:
    """Go to the content of data.tar.*; return the member's name and size."""
    if stream.read(len(_AR_MAGIC)) != _AR_MAGIC:
        raise SourceError("not a Debian package")
    while len(header := stream.read(_AR_HEADER)) == _AR_HEADER:
        name = header[:16].decode("ascii", "replace").strip().rstrip("/")
        field = header[48:58].strip()
        if header[58:] != b"`\n" or not field.isdigit():
            raise SourceError("the Debian package is damaged")
        size = int(field)
        if name.startswith("data.tar"):
            return name, size
        stream.seek(size + size % 2, io.SEEK_CUR)  # members are padded to even sizes
    raise SourceError("the Debian package is cut short: it has no data.tar")


def _decompress(name: str, content: bytes) -> IO[bytes]:
    packed = io.BytesIO(content)
    match name:
        case "data.tar":
            return packed
        case "data.tar.xz":
            return lzma.open(packed)
        case "data.tar.gz":
            return io.BufferedReader(gzip.open(packed))
        case "data.tar.zst":
            return _unzstd(packed)
    raise SourceError(f"the Debian package's {name} is compressed in an unknown way")


def _unzstd(packed: IO[bytes]) -> IO[bytes]:
    # Only Ubuntu's packages need it, so that it is no reason to fail elsewhere.
    try:
        import zstandard
    except ImportError as error:
        raise SourceError("unpacking it takes zstandard: pip install zstandard") from error
    try:
        return io.BytesIO(b"".join(zstandard.ZstdDecompressor().read_to_iter(packed)))
    except zstandard.ZstdError as error:
        raise SourceError(f"the Debian package is damaged ({error})") from error


@contextmanager
def _damage_is_said(archive: Path) -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, gzip.BadGzipFile, lzma.LZMAError, zlib.error, EOFError) as error:
        raise SourceError(f"{archive.name} is damaged or cut short ({error})") from error
