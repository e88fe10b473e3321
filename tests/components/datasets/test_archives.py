"""Packages give the files wanted, and hostile or damaged ones give nothing."""

from __future__ import annotations

import gzip
import hashlib
import io
import lzma
import tarfile
from pathlib import Path

import pytest
import zstandard

from components.datasets.archives import extract_deb, extract_tgz, place_maybe_gzipped
from components.datasets.catalog import RawFile
from components.datasets.download import SourceError

BODY = bytes(range(256)) * 40
FILE = RawFile(name="a", bytes=len(BODY), sha256=hashlib.sha256(BODY).hexdigest())
COMPRESS = {"": bytes, ".gz": gzip.compress, ".xz": lzma.compress, ".zst": zstandard.compress}


def regular(name: str, body: bytes = BODY) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(body)
    return info, body


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info, b""


def tar(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for info, body in members:
            archive.addfile(info, io.BytesIO(body))
    return buffer.getvalue()


def ar_member(name: str, body: bytes) -> bytes:
    header = f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(body):<10}`\n"
    return header.encode() + body + b"\n" * (len(body) % 2)


def deb(data: bytes, name: str = "data.tar") -> bytes:
    # An odd size before it, so that the padding matters.
    control = ar_member("debian-binary", b"2.0\n") + ar_member("control.tar.gz", b"odd")
    return b"!<arch>\n" + control + ar_member(name, data)


def extract(tmp_path: Path, package: bytes, member: str = "usr/share/{}") -> Path:
    path = tmp_path / "package"
    path.write_bytes(package)
    target = tmp_path / "target"
    target.mkdir()
    tool = extract_deb if package.startswith(b"!<arch>") else extract_tgz
    tool(path, [FILE], member, target)
    return target


@pytest.mark.parametrize("compression", list(COMPRESS))
@pytest.mark.parametrize("dot", ["", "./"])
def test_debian_package(tmp_path: Path, compression: str, dot: str) -> None:
    data = COMPRESS[compression](tar(regular(f"{dot}usr/b", b"b"), regular(f"{dot}usr/share/a")))
    target = extract(tmp_path, deb(data, f"data.tar{compression}"))
    assert [path.name for path in target.iterdir()] == ["a"]
    assert (target / "a").read_bytes() == BODY


def test_gzipped_member(tmp_path: Path) -> None:
    package = gzip.compress(tar(regular("package/data/a.gz", gzip.compress(BODY))))
    target = extract(tmp_path, package, "package/data/{}.gz")
    assert (target / "a").read_bytes() == BODY


@pytest.mark.parametrize("name", ["../evil", "/tmp/evil", "usr/../../evil"])
@pytest.mark.parametrize("kind", ["deb", "tgz"])
def test_paths_that_lead_outside(tmp_path: Path, name: str, kind: str) -> None:
    data = tar(regular(name), regular("usr/share/a"))
    with pytest.raises(SourceError, match="unsafe path"):
        extract(tmp_path, deb(data) if kind == "deb" else gzip.compress(data))
    assert list((tmp_path / "target").iterdir()) == []
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_place_of_a_file(tmp_path: Path, kind: bytes) -> None:
    with pytest.raises(SourceError, match="no ordinary file"):
        extract(tmp_path, deb(tar(link("usr/share/a", "/etc/passwd", kind))))
    assert list((tmp_path / "target").iterdir()) == []


def test_other_links_are_not_made(tmp_path: Path) -> None:
    data = tar(link("usr/share", "/tmp"), link("usr/x", "../../y"), regular("usr/share/a"))
    target = extract(tmp_path, deb(data))
    assert [path.name for path in target.iterdir()] == ["a"]


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="a has more than"):
        extract(tmp_path, deb(tar(regular("usr/share/a.gz", gzip.compress(bytes(10**7))))),
                "usr/share/{}.gz")  # fmt: skip
    assert list((tmp_path / "target").iterdir()) == []


def test_file_not_there(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="the archive has no usr/share/a"):
        extract(tmp_path, deb(tar(regular("usr/a"))))


@pytest.mark.parametrize("compression", list(COMPRESS))
def test_every_truncation_is_noticed(tmp_path: Path, compression: str) -> None:
    package = deb(COMPRESS[compression](tar(regular("usr/share/a"))), f"data.tar{compression}")
    for number, keep in enumerate(range(0, len(package) - 1, max(1, len(package) // 23))):
        (tmp_path / str(number)).mkdir()
        with pytest.raises(SourceError):
            extract(tmp_path / str(number), package[:keep])
        assert list((tmp_path / str(number) / "target").iterdir()) == []


@pytest.mark.parametrize("compression", [".gz", ".xz", ".zst"])
def test_damage_is_noticed(tmp_path: Path, compression: str) -> None:
    package = bytearray(
        deb(COMPRESS[compression](tar(regular("usr/share/a"))), f"data.tar{compression}")
    )
    for place in (3, 20, -len(package) // 8):
        damaged = bytearray(package)
        damaged[place] ^= 0xFF
        folder = tmp_path / str(place)
        folder.mkdir()
        try:
            target = extract(folder, bytes(damaged))
        except SourceError:
            assert list((folder / "target").iterdir()) == []
        else:  # harmless where it hit: what came out is right
            assert (target / "a").read_bytes() == BODY


@pytest.mark.parametrize(
    ("package", "said"),
    [
        (b"!<arch>\n" + ar_member("debian-binary", b"2.0\n"), "no data.tar"),
        (deb(tar(), "data.tar.br"), "compressed in an unknown way"),
        (b"!<arch>\n" + b"x" * 60, "damaged"),
        (b"no archive", "damaged or cut short"),
        (b"", "damaged or cut short|cut short|has no"),
    ],
)
def test_no_package(tmp_path: Path, package: bytes, said: str) -> None:
    with pytest.raises(SourceError, match=said):
        extract(tmp_path, package)


@pytest.mark.parametrize("keep", [0, 5, 100, -1])
def test_truncated_gzip(tmp_path: Path, keep: int) -> None:
    with pytest.raises(SourceError):
        place_maybe_gzipped(io.BytesIO(gzip.compress(BODY)[:keep]), True, FILE, tmp_path)
    assert list(tmp_path.iterdir()) == []
