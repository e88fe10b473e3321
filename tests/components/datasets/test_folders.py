"""A user's folder of images, with everything that folders of images hold."""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from components.datasets.catalog import ImageFolderEntry
from components.datasets.folders import decode, pack_folder, read_packed
from components.errors import UserError


def encoded(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def flat(colour: Any, mode: str = "RGB", size: tuple[int, int] = (12, 10)) -> Image.Image:
    return Image.new(mode, size, colour)


def grey16(value: int) -> Image.Image:
    return Image.fromarray(np.full((10, 12), value, dtype=np.uint16))


def palette() -> Image.Image:
    image = flat((200, 100, 50)).convert("P", palette=Image.Palette.ADAPTIVE)
    assert image.mode == "P"
    return image


RED, HALF_RED = (200, 100, 50), (200, 100, 50, 0)
# name: (file, expected RGB)
FORMS: dict[str, tuple[Callable[[], bytes], tuple[int, int, int]]] = {
    "png": (lambda: encoded(flat(RED)), RED),
    "jpeg": (lambda: encoded(flat(RED), "JPEG", quality=95), RED),
    "progressive jpeg": (lambda: encoded(flat(RED), "JPEG", quality=95, progressive=True), RED),
    "cmyk jpeg": (lambda: encoded(flat(RED).convert("CMYK"), "JPEG", quality=98), RED),
    "bmp": (lambda: encoded(flat(RED), "BMP"), RED),
    "gif": (lambda: encoded(palette(), "GIF"), RED),
    "webp": (lambda: encoded(flat(RED), "WEBP", lossless=True), RED),
    "tiff": (lambda: encoded(flat(RED), "TIFF", compression="tiff_lzw"), RED),
    "cmyk tiff": (lambda: encoded(flat(RED).convert("CMYK"), "TIFF"), RED),
    "ppm": (lambda: encoded(flat(RED), "PPM"), RED),
    "palette": (lambda: encoded(palette()), RED),
    "grey": (lambda: encoded(flat(90, "L")), (90, 90, 90)),
    "bits": (lambda: encoded(flat(1, "1")), (255, 255, 255)),
    "grey 16": (lambda: encoded(grey16(51_400)), (200, 200, 200)),
    "grey 16 tiff": (lambda: encoded(grey16(257), "TIFF"), (1, 1, 1)),
    "alpha clear": (lambda: encoded(flat(HALF_RED, "RGBA")), (255, 255, 255)),
    "alpha half": (lambda: encoded(flat((0, 0, 0, 51), "RGBA")), (204, 204, 204)),
    "grey alpha": (lambda: encoded(flat((0, 0), "LA")), (255, 255, 255)),
    "palette clear": (lambda: encoded(palette(), transparency=bytes(256)), (255, 255, 255)),
}  # fmt: skip


class TestDecode:
    @pytest.mark.parametrize("form", list(FORMS))
    def test_forms(self, form: str) -> None:
        make, expected = FORMS[form]
        found = decode(make(), 8, 3)
        assert found.shape == (3, 8, 8) and found.dtype == np.uint8
        assert np.abs(found.astype(int) - np.array(expected)[:, None, None]).max() <= 3
        assert decode(make(), 8, 1).shape == (1, 8, 8)

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_orientation(self, orientation: int) -> None:
        upright = np.zeros((8, 8), dtype=np.uint8)
        upright[0, :] = 255  # a bar above, and a shorter one at the left
        upright[:5, 0] = 255
        undo = {
            1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1],
            5: upright.T, 6: np.rot90(upright), 7: upright[::-1, ::-1].T, 8: np.rot90(upright, -1),
        }  # fmt: skip
        exif = Image.Exif()
        exif[0x0112] = orientation
        stored = Image.fromarray(np.ascontiguousarray(undo[orientation]))
        found = decode(encoded(stored, "PNG", exif=exif), 8, 1)
        assert np.array_equal(found[0], upright)

    def test_shorter_side_and_centre(self) -> None:
        pixels = np.zeros((20, 60), dtype=np.uint8)
        pixels[:, 20:40] = 255
        for image in (Image.fromarray(pixels), Image.fromarray(np.ascontiguousarray(pixels.T))):
            # The filter reaches over the edge of the crop, by a little.
            assert (decode(encoded(image), 10, 1) > 230).all()

    def test_small_images_grow(self) -> None:
        assert decode(encoded(flat(7, "L", (1, 3))), 32, 1).shape == (1, 32, 32)

    @pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP"])
    def test_truncated(self, form: str) -> None:
        noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
        data = encoded(Image.fromarray(noise), form)
        for keep in (0, 4, 30, len(data) // 2):
            with pytest.raises(ValueError, match=r"."):
                decode(data[:keep], 8, 3)

    def test_too_large(self) -> None:
        header = struct.pack(">II5B", 60_000, 60_000, 8, 2, 0, 0, 0)
        png = bytearray(encoded(flat(RED)))
        png[16:29] = header
        png[29:33] = struct.pack(">I", zlib.crc32(bytes(png[12:29])))
        with pytest.raises(ValueError, match="decompression bomb"):
            decode(bytes(png), 8, 3)

    def test_floating_point(self) -> None:
        with pytest.raises(ValueError, match="no fixed range"):
            decode(encoded(flat(0.5, "F"), "TIFF"), 8, 1)


def entry(path: Path, **changes: Any) -> ImageFolderEntry:
    settings: dict[str, Any] = {
        "kind": "image-folder", "path": str(path), "size": 8, "channels": 3,
        "on_unreadable": "skip", "test_fraction": 0.25,
    }  # fmt: skip
    return ImageFolderEntry.model_validate({**settings, **changes})


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Forty images of forty greys, in folders in folders."""
    root = tmp_path / "images"
    for i in range(40):
        folder = root / f"class {i % 3}" / "é" / str(i % 2)
        folder.mkdir(parents=True, exist_ok=True)
        suffix = [".png", ".PNG", ".bmp", ""][i % 4]
        form = "BMP" if suffix == ".bmp" else "PNG"
        (folder / f"{i}{suffix}").write_bytes(encoded(flat(6 * i, "L"), form))
    (root / "readme.txt").write_text("not an image")
    (root / "LICENSE").write_text("not an image either")
    (root / ".hidden.png").write_bytes(b"thumbnail")
    (root / ".cache").mkdir()
    (root / ".cache" / "x.png").write_bytes(b"thumbnail")
    return root


def greys(item: ImageFolderEntry, archive: Path) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for split, raw in read_packed(item, archive).items():
        x = np.concatenate([x for x, labels in raw.blocks if labels is None])
        assert x.shape[1:] == (item.channels, 8, 8) and len(x) <= raw.count
        assert (x == x[:, :1, :1, :1]).all()
        found[split] = [int(value) for value in x[:, 0, 0, 0]]
    return found


def test_every_image_once(images: Path, tmp_path: Path) -> None:
    item = entry(images)
    assert pack_folder(item, tmp_path / "a.tar") == "image folder images (40 images)"
    found = greys(item, tmp_path / "a.tar")
    assert len(found["test"]) == 10 and len(found["train"]) == 30
    assert sorted(found["train"] + found["test"]) == [6 * i for i in range(40)]
    assert found["train"] != sorted(found["train"])


def test_the_order_depends_on_names_alone(images: Path, tmp_path: Path) -> None:
    pack_folder(entry(images), tmp_path / "a.tar")
    moved = images.rename(tmp_path / "moved")
    for path in moved.rglob("*"):
        os.utime(path, (1, 1))
    pack_folder(entry(moved), tmp_path / "b.tar")
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()


def test_unreadable_files_are_named(images: Path, tmp_path: Path, caplog: Any) -> None:
    (images / "empty.png").write_bytes(b"")
    (images / "class 0" / "text.jpg").write_text("no image")
    (images / "broken.png").symlink_to(tmp_path / "nowhere.png")
    pack_folder(entry(images), tmp_path / "a.tar")
    found = greys(entry(images), tmp_path / "a.tar")
    assert sorted(found["train"] + found["test"]) == [6 * i for i in range(40)]
    assert "empty.png" in caplog.text and "class 0/text.jpg" in caplog.text
    with pytest.raises(UserError, match=r"cannot read the image (empty.png|class 0/text.jpg): "):
        greys(entry(images, on_unreadable="error"), tmp_path / "a.tar")


def test_links_are_followed_but_not_in_circles(images: Path, tmp_path: Path) -> None:
    (images / "class 0" / "up").symlink_to(images)
    other = tmp_path / "other"
    other.mkdir()
    (other / "z.png").write_bytes(encoded(flat(255, "L")))
    (images / "linked").symlink_to(other)
    pack_folder(entry(images), tmp_path / "a.tar")
    found = greys(entry(images), tmp_path / "a.tar")
    assert sorted(found["train"] + found["test"]) == [*(6 * i for i in range(40)), 255]


def test_no_folder_no_image_one_image(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no folder .*images: correct the entry's path"):
        pack_folder(entry(tmp_path / "images"), tmp_path / "a.tar")
    root = tmp_path / "images"
    (root / "deeper").mkdir(parents=True)
    (root / "notes.txt").write_text("")
    with pytest.raises(UserError, match=r"no image in .*images"):
        pack_folder(entry(root), tmp_path / "a.tar")
    (root / "deeper" / "one.png").write_bytes(encoded(flat(0, "L")))
    pack_folder(entry(root), tmp_path / "a.tar")
    with pytest.raises(UserError, match="holds 1 image; it takes two"):
        read_packed(entry(root), tmp_path / "a.tar")
    (root / "two.png").write_bytes(encoded(flat(9, "L")))
    pack_folder(entry(root), tmp_path / "a.tar")
    assert {s: len(g) for s, g in greys(entry(root), tmp_path / "a.tar").items()} == {
        "train": 1,
        "test": 1,
    }


def test_damaged_or_missing_pack(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="fetch it first with: dvc repro fetch@"):
        read_packed(entry(tmp_path), tmp_path / "images.tar")
    (tmp_path / "images.tar").write_bytes(b"half a tar")
    with pytest.raises(UserError, match=r"images.tar is damaged"):
        read_packed(entry(tmp_path), tmp_path / "images.tar")
