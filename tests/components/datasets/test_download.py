"""Downloads arrive whole or not at all, whatever the server does."""

from __future__ import annotations

import hashlib
import io
import socket
from pathlib import Path
from typing import Any

import pytest

from components.datasets.catalog import RawFile
from components.datasets.download import SourceError, download, place

BODY = bytes(range(256)) * 400
LIMIT = 200_000


def test_whole(tmp_path: Path, server: Any, answer: Any, capfd: Any) -> None:
    server.answers["/a"] = answer(BODY)
    download(f"{server.url}/a", tmp_path / "a", LIMIT)
    assert (tmp_path / "a").read_bytes() == BODY
    out, err = capfd.readouterr()
    assert not out and "100%" in err and "B/s" in err


@pytest.mark.parametrize("failure", ["drop", "reset", "chunked", "stall"])
def test_one_failure_is_got_over(tmp_path: Path, server: Any, answer: Any, failure: str) -> None:
    server.answers["/a"] = answer(BODY, failures=[failure])
    download(f"{server.url}/a", tmp_path / "a", LIMIT, timeout=0.3)
    assert (tmp_path / "a").read_bytes() == BODY
    assert server.asked == ["/a", "/a"]


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        ("drop", r"dropped at 51,200 of 102,400 bytes \(tried twice\)"),
        ("reset", "Remote end closed connection without response"),
        ("chunked", r"bytes \(tried twice\)"),
        ("stall", r"no answer in time after 51,200 of 102,400 bytes \(tried twice\)"),
    ],
)
def test_two_failures_are_reported(
    tmp_path: Path, server: Any, answer: Any, failure: str, said: str
) -> None:
    server.answers["/a"] = answer(BODY, failures=[failure] * 2)
    with pytest.raises(SourceError, match=said):
        download(f"{server.url}/a", tmp_path / "a", LIMIT, timeout=0.3)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("status", "requests"), [(404, 1), (403, 1), (503, 2)])
def test_http_errors(tmp_path: Path, server: Any, answer: Any, status: int, requests: int) -> None:
    server.answers["/a"] = answer(status=status)
    with pytest.raises(SourceError, match=f"HTTP status {status}"):
        download(f"{server.url}/a", tmp_path / "a", LIMIT)
    assert len(server.asked) == requests and list(tmp_path.iterdir()) == []


def test_nobody_there(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(SourceError, match=r"refused \(tried twice\)"):
        download(f"http://127.0.0.1:{port}/a", tmp_path / "a", LIMIT)


def test_too_much(tmp_path: Path, server: Any, answer: Any) -> None:
    server.answers["/a"] = answer(BODY)
    with pytest.raises(SourceError, match="102,400 bytes, more than the 1,000 expected"):
        download(f"{server.url}/a", tmp_path / "a", 1_000)
    assert list(tmp_path.iterdir()) == []


def test_only_https(tmp_path: Path, server: Any, answer: Any) -> None:
    for url in ("http://example.org/a", "file:///etc/hostname", "ftp://example.org/a"):
        with pytest.raises(SourceError, match="not https"):
            download(url, tmp_path / "a", LIMIT)
    server.answers["/a"] = answer(status=302, location="http://example.org/a")
    with pytest.raises(SourceError, match=r"http://example.org/a: not https"):
        download(f"{server.url}/a", tmp_path / "a", LIMIT)
    server.answers["/b"] = answer(status=302, location=f"{server.url}/c")
    server.answers["/c"] = answer(BODY)
    download(f"{server.url}/b", tmp_path / "b", LIMIT)
    assert (tmp_path / "b").read_bytes() == BODY


class TestPlace:
    FILE = RawFile(name="a", bytes=len(BODY), sha256=hashlib.sha256(BODY).hexdigest())

    def test_right(self, tmp_path: Path) -> None:
        place(io.BytesIO(BODY), self.FILE, tmp_path)
        assert (tmp_path / "a").read_bytes() == BODY
        assert [path.name for path in tmp_path.iterdir()] == ["a"]

    @pytest.mark.parametrize(
        ("body", "said"),
        [
            (BODY[:-1], "a has 102,399 bytes instead of 102,400"),
            (BODY + b"!", "a has more than 102,400 bytes instead of 102,400"),
            (b"!" + BODY[1:], "a has another SHA-256 than the catalogue says"),
        ],
    )
    def test_wrong(self, tmp_path: Path, body: bytes, said: str) -> None:
        with pytest.raises(SourceError, match=said):
            place(io.BytesIO(body), self.FILE, tmp_path)
        assert list(tmp_path.iterdir()) == []
