"""Fetching: the first source that works is used; if none does, one line says all."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from components.datasets.catalog import ImagesEntry, PointsEntry
from components.datasets.formats import write_idx
from components.datasets.sources import fetch
from components.errors import UserError

ROLES = [("train", "images"), ("train", "labels"), ("test", "images"), ("test", "labels")]
RNG = np.random.default_rng(0)


def idx(array: np.ndarray, folder: Path) -> bytes:
    write_idx(folder / "x", array)
    data = (folder / "x").read_bytes()
    (folder / "x").unlink()
    return data


@pytest.fixture
def bodies(tmp_path: Path) -> dict[str, bytes]:
    """The content of a small data set's four files."""
    made = {}
    for split, count in (("train", 20), ("test", 10)):
        images = RNG.integers(0, 256, (count, 4, 4), dtype=np.uint8)
        labels = RNG.integers(0, 2, count, dtype=np.uint8)
        made[f"{split}-images"] = idx(images, tmp_path)
        made[f"{split}-labels"] = idx(labels, tmp_path)
    return made


@pytest.fixture
def entry(bodies: dict[str, bytes]) -> Callable[..., ImagesEntry]:
    def make(*sources: dict[str, Any]) -> ImagesEntry:
        files: dict[str, dict[str, Any]] = {"train": {}, "test": {}}
        for split, role in ROLES:
            body = bodies[f"{split}-{role}"]
            files[split][role] = {
                "name": f"{split}-{role}",
                "bytes": len(body),
                "sha256": hashlib.sha256(body).hexdigest(),
            }
        return ImagesEntry.model_validate(
            {
                "kind": "images", "licence": "none", "shape": (1, 4, 4), "classes": ("a", "b"),
                "files": files, "sources": list(sources),
            }
        )  # fmt: skip

    return make


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("SYMBIOSIS_DATA", raising=False)
    monkeypatch.chdir(tmp_path)


def https(server: Any, path: str = "/d", **more: str) -> dict[str, Any]:
    return {"kind": "https", "urls": [server.url + path], **more}


def serve(server: Any, answer: Any, bodies: dict[str, bytes], path: str = "/d") -> None:
    for name, body in bodies.items():
        server.answers[f"{path}/{name}"] = answer(body)
        server.answers[f"{path}/{name}.gz"] = answer(gzip.compress(body))


def check(folder: Path, bodies: dict[str, bytes], source: str) -> None:
    assert {path.name for path in folder.iterdir()} == {*bodies, "source.json"}
    assert all((folder / name).read_bytes() == body for name, body in bodies.items())
    assert json.loads((folder / "source.json").read_text()) == {"source": source}


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_https(server: Any, answer: Any, bodies: Any, entry: Any, suffix: str) -> None:
    serve(server, answer, bodies)
    used = fetch(entry(https(server, suffix=suffix)), "small", Path("raw/small"))
    check(Path("raw/small"), bodies, used)
    assert used == f"https ({server.url}/d)"


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_by_hand_comes_first(server: Any, bodies: Any, entry: Any, suffix: str) -> None:
    by_hand = Path("data/by-hand/small")
    by_hand.mkdir(parents=True)
    for name, body in bodies.items():
        (by_hand / (name + suffix)).write_bytes(gzip.compress(body) if suffix else body)
    assert fetch(entry(https(server)), "small", Path("raw/small")) == "folder"
    check(Path("raw/small"), bodies, "folder")
    assert server.asked == []


def test_the_folder_named_by_the_environment(
    server: Any, bodies: Any, entry: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("mine/small").mkdir(parents=True)
    for name, body in bodies.items():
        Path("mine/small", name).write_bytes(body)
    monkeypatch.setenv("SYMBIOSIS_DATA", "mine")
    assert fetch(entry(https(server)), "small", Path("raw/small")) == "folder"


@pytest.mark.parametrize("fault", ["drop", "corrupt", "cut", "missing"])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_bad_source_gives_way_to_the_next(
    server: Any, answer: Any, bodies: Any, entry: Any, suffix: str, fault: str, caplog: Any
) -> None:
    serve(server, answer, bodies, "/bad")
    serve(server, answer, bodies, "/good")
    path = f"/bad/test-labels{suffix}"  # the last file: the others have arrived by then
    body = server.answers[path].body
    server.answers[path] = {
        "drop": answer(body, failures=["drop", "drop"]),
        "corrupt": answer(body[:-9] + bytes([body[-9] ^ 1]) + body[-8:]),
        "cut": answer(body[:-3]),
        "missing": answer(status=404),
    }[fault]
    sources = [https(server, "/bad", suffix=suffix), https(server, "/good", suffix=suffix)]
    used = fetch(entry(*sources), "small", Path("raw/small"))
    check(Path("raw/small"), bodies, used)
    assert used == f"https ({server.url}/good)"
    assert f"small not from https ({server.url}/bad)" in caplog.text


def test_no_source_works(server: Any, answer: Any, bodies: Any, entry: Any) -> None:
    serve(server, answer, bodies)
    server.answers["/d/train-labels"] = answer(b"other")
    by_hand = Path("data/by-hand/small")
    by_hand.mkdir(parents=True)
    (by_hand / "train-images").write_bytes(b"half")
    with pytest.raises(UserError) as caught:
        fetch(entry(https(server), https(server, "/e")), "small", Path("raw/small"))
    said = str(caught.value)
    assert "\n" not in said
    assert "folder data/by-hand/small: train-images has 4 bytes instead of 336" in said
    assert "train-labels has 5 bytes instead of 28" in said
    assert "/e/train-images: HTTP status 404" in said
    assert "put train-images, train-labels, test-images, test-labels (or these with .gz)" in said
    assert list(Path("raw").iterdir()) == []


def test_a_failure_keeps_what_was_there(server: Any, answer: Any, bodies: Any, entry: Any) -> None:
    serve(server, answer, bodies)
    used = fetch(entry(https(server)), "small", Path("raw/small"))
    with pytest.raises(UserError):
        fetch(entry(https(server, "/e")), "small", Path("raw/small"))
    check(Path("raw/small"), bodies, used)


class TestNpm:
    SOURCE: ClassVar = {
        "kind": "npm",
        "package": "small",
        "version": "1.0.0",
        "folder": "package/data",
    }

    @pytest.fixture(autouse=True)
    def _registry(
        self, server: Any, answer: Any, bodies: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
            for name, body in bodies.items():
                info = tarfile.TarInfo(f"package/data/{name}")
                info.size = len(body)
                archive.addfile(info, io.BytesIO(body))
        package = buffer.getvalue()
        digest = base64.b64encode(hashlib.sha512(package).digest()).decode()
        dist = {"tarball": f"{server.url}/small.tgz", "integrity": f"sha512-{digest}"}
        server.answers["/small.tgz"] = answer(package)
        server.answers["/small/1.0.0"] = answer(json.dumps({"dist": dist}).encode())
        # npm itself reads its registry from here too.
        monkeypatch.setenv("npm_config_registry", f"{server.url}/")

    def test_package(self, bodies: Any, entry: Any) -> None:
        used = fetch(entry(self.SOURCE), "small", Path("raw/small"))
        check(Path("raw/small"), bodies, used)
        assert used == "npm package small 1.0.0"

    def test_without_npm(self, bodies: Any, entry: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", "")
        check(Path("raw/small"), bodies, fetch(entry(self.SOURCE), "small", Path("raw/small")))

    @pytest.mark.parametrize(
        ("path", "body", "said"),
        [
            ("/small.tgz", b"another package", "its SHA-512 is not the registry's"),
            ("/small/1.0.0", b"<html>log in</html>", "answer is no package description"),
            ("/small/1.0.0", b'{"dist": 3}', "answer is no package description"),
            ("/small/1.0.0", b'{"dist": {"tarball": "file:///x", "integrity": ""}}', "not https"),
        ],
    )
    def test_wrong_answers(
        self, server: Any, answer: Any, entry: Any, path: str, body: bytes, said: str
    ) -> None:
        server.answers[path] = answer(body)
        with pytest.raises(UserError, match=said):
            fetch(entry(self.SOURCE), "small", Path("raw/small"))
        assert list(Path("raw").iterdir()) == []


def test_debian_package_unknown_to_apt_comes_from_the_mirror(
    server: Any, answer: Any, bodies: Any, entry: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in for apt-get, whose lists are empty and whose mirror is the test's server."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:xz") as archive:
        for name, body in bodies.items():
            info = tarfile.TarInfo(f"./usr/share/{name}")
            info.size = len(body)
            archive.addfile(info, io.BytesIO(body))
    data = buffer.getvalue()
    header = f"{'data.tar.xz':<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(data):<10}`\n"
    server.answers["/debian/pool/s.deb"] = answer(b"!<arch>\n" + header.encode() + data)
    Path("bin").mkdir()
    script = Path("bin/apt-get")
    script.write_text(
        f'#!/bin/sh\n[ "$1" = indextargets ] && echo {server.url}/debian && exit\n'
        "echo 'E: Unable to locate package small' >&2\nexit 100\n"
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(Path("bin").absolute()))
    source = {"kind": "debian", "package": "small", "pool": "pool/s.deb", "folder": "usr/share"}
    check(Path("raw/small"), bodies, fetch(entry(source), "small", Path("raw/small")))
    assert server.asked == ["/debian/pool/s.deb"]


def test_generated_points_depend_on_the_seed_alone() -> None:
    def made(seed: int, folder: str) -> list[bytes]:
        source = {
            "kind": "generated", "density": "swiss-roll", "train": 50, "test": 20, "seed": seed,
        }  # fmt: skip
        item = PointsEntry.model_validate({"kind": "points", "licence": "none", "source": source})
        fetch(item, "roll", Path(folder))
        points = [np.load(Path(folder, f"{split}.npy")) for split in ("train", "test")]
        assert [p.shape for p in points] == [(50, 2), (20, 2)]
        assert points[0].dtype == np.float32 and not np.array_equal(points[0][:20], points[1])
        return [path.read_bytes() for path in sorted(Path(folder).iterdir())]

    assert made(1, "a") == made(1, "b") != made(2, "c")
