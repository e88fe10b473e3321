"""A user's own folder of images: found, packed, decoded, cut to size.

Fetching packs the images as they are into one tar file, so that the rest of the pipeline depends
on that file alone and not on a folder that changes; sharding decodes them.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
import tarfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from tqdm import tqdm

from components.datasets.catalog import ImageFolderEntry
from components.datasets.shards import Block, RawSplit
from components.errors import UserError

_log = logging.getLogger(__name__)
_SUFFIXES = (
    *(".avif", ".bmp", ".dib", ".gif", ".ico", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg"),
    *(".pbm", ".pcx", ".pgm", ".png", ".pnm", ".ppm", ".tga", ".tif", ".tiff", ".webp"),
)
_BLOCK_IMAGES = 256


def pack_folder(entry: ImageFolderEntry, destination: Path) -> str:
    """Pack the images of a folder and of all folders in it into a tar file.

    Images are the files whose name ends as an image's does, in any case, and those without an
    ending that Pillow recognises; hidden files and folders are left out. Links are followed. The
    order is that of a hash of the path within the folder, so that neighbours are not alike.

    Args:
        entry: which folder.
        destination: the tar file to write; its bytes depend on the images and their names alone.

    Returns:
        The source, in words.

    Raises:
        UserError: there is no such folder or no image in it, or a file cannot be read.
    """
    root = Path(entry.path).expanduser()
    if not root.is_dir():
        raise UserError(f"no folder {root}: correct the entry's path in the catalogue")
    names = sorted(_find_images(root), key=_hash)
    if not names:
        raise UserError(
            f"no image in {root}: it and the folders in it hold no file that ends in "
            f"{', '.join(_SUFFIXES)}"
        )
    with tarfile.open(destination, "w", format=tarfile.PAX_FORMAT) as archive:
        for name in tqdm(names, desc="packing", unit=" images", dynamic_ncols=True):
            try:
                content = (root / name).read_bytes()
            except OSError as error:
                # Left to decoding, which knows what to do with an image that cannot be read.
                _log.warning("cannot read %s: %s", root / name, error.strerror)
                content = b""
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return f"image folder {root.name} ({len(names)} images)"


def read_packed(entry: ImageFolderEntry, archive: Path) -> dict[str, RawSplit]:
    """Read a packed folder: a share of it, first by the hash of the path, is ``test``.

    Returns:
        ``train`` and ``test``: uint8 N×C×size×size, without labels.

    Raises:
        UserError: the file is missing or damaged, there are fewer than two images, or, while the
            blocks are read, an image cannot be decoded and ``on_unreadable`` is ``error``.
    """
    try:
        with tarfile.open(archive) as packed:
            count = len(packed.getmembers())
    except FileNotFoundError as error:
        raise UserError(
            f"{archive} is missing; fetch it first with: dvc repro fetch@{archive.parent.name}"
        ) from error
    except tarfile.TarError as error:
        raise UserError(f"{archive} is damaged; delete {archive.parent} and fetch again") from error
    if count < 2:
        raise UserError(f"{entry.path} holds {count} image; it takes two, to train and to test")
    test = min(count - 1, max(1, round(count * entry.test_fraction)))
    return {
        "train": RawSplit(count - test, _decoded(entry, archive, "train", test, count)),
        "test": RawSplit(test, _decoded(entry, archive, "test", 0, test)),
    }


def decode(data: bytes, size: int, channels: int) -> NDArray[np.uint8]:
    """Decode an image file: turned upright, in 8 bits, shorter side resized, centre cropped.

    Transparency is laid over white; 16-bit grey is scaled to 8 bits; of several frames the first
    is taken.

    Args:
        data: the file's content.
        size: height and width of the result, pixels.
        channels: 1 (grey) or 3 (RGB).

    Returns:
        uint8, C×size×size, 0..255.

    Raises:
        ValueError: this is no image, is a damaged one, or one without a fixed range of values.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's remarks on what it could read all the same
            with Image.open(io.BytesIO(data)) as file:
                image = _eight_bits(ImageOps.exif_transpose(file))
                image = image.convert("L" if channels == 1 else "RGB")
                image = ImageOps.fit(image, (size, size), Image.Resampling.LANCZOS)
    # Pillow's decoders raise errors of a dozen kinds on damaged files, DecompressionBombError
    # among them; whichever it is, the file is unreadable.
    except Exception as error:
        said = " ".join(str(error).split()).replace("<_io.BytesIO object at ", "<")
        raise ValueError(said or type(error).__name__) from error
    pixels = np.asarray(image, dtype=np.uint8)
    return pixels[None] if channels == 1 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _eight_bits(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # I;16, I;16B, and I, as which some 16-bit files are opened
        values = np.asarray(image).astype(np.int64)
        return Image.fromarray((np.clip(values, 0, 65535) // 257).astype(np.uint8))
    if image.mode == "F":
        raise ValueError("floating-point pixels have no fixed range; convert them to 8 bits")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image)
    return image


def _decoded(
    entry: ImageFolderEntry, archive: Path, split: str, start: int, stop: int
) -> Iterator[Block]:
    """Decode the images from ``start`` to ``stop``, a block at a time."""
    images: list[NDArray[np.uint8]] = []
    skipped = 0
    with tarfile.open(archive) as packed:
        members = packed.getmembers()[start:stop]
        for member in tqdm(members, desc=split, unit=" images", dynamic_ncols=True):
            stream = packed.extractfile(member)
            try:
                images.append(decode(stream.read() if stream else b"", entry.size, entry.channels))
            except ValueError as error:
                said = f"cannot read the image {member.name}: {error}"
                if entry.on_unreadable == "error":
                    raise UserError(f"{said}; repair it, or set on_unreadable: skip") from error
                _log.warning("%s (skipped)", said)
                skipped += 1
            if len(images) == _BLOCK_IMAGES:
                yield np.stack(images), None
                images = []
    if skipped:
        _log.warning("%s: %d of %d images skipped", split, skipped, len(members))
    if images:
        yield np.stack(images), None


def _find_images(root: Path) -> Iterator[str]:
    """Yield the paths of the images within ``root``, with forward slashes."""
    seen: set[str] = set()
    for folder, subfolders, files in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:  # a link back to a folder above would go round for ever
            subfolders.clear()
            continue
        seen.add(real)
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in files:
            path = Path(folder, name)
            if not name.startswith(".") and path.is_file() and _is_image(path):
                yield path.relative_to(root).as_posix()


def _is_image(path: Path) -> bool:
    if path.suffix:
        return path.suffix.lower() in _SUFFIXES
    try:
        with Image.open(path):
            return True
    except (OSError, ValueError, SyntaxError):
        return False


def _hash(name: str) -> bytes:
    return hashlib.sha256(os.fsencode(name)).digest()
