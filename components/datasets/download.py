"""Downloading one file, and knowing that it arrived."""

from __future__ import annotations

import hashlib
import http.client
import os
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO, Any

from tqdm import tqdm

from components.datasets.catalog import RawFile, is_private_or_encrypted

_BLOCK = 1 << 18
_PAUSE = 0.5  # seconds before the second attempt


class SourceError(Exception):
    """Why a source did not give a file; the next source may."""


class _PassingError(SourceError):
    """A failure that may pass: worth a second attempt."""


def download(
    url: str, path: Path, limit: int, timeout: float = 30.0, allow_http: bool = False
) -> None:
    """Download a file, retrying once if the connection fails, drops or gives too little.

    Proxies are taken from the environment. Progress is shown on stderr.

    Args:
        url: an https address (http only on this machine, or if allowed).
        path: where to write; half a file is never left there.
        limit: the most bytes to accept.
        timeout: seconds without a byte after which the connection counts as dropped.
        allow_http: accept http from elsewhere too.

    Raises:
        SourceError: the file cannot be had from here.
    """
    if not allow_http:
        _demand_safe(url)
    redirects = urllib.request.HTTPRedirectHandler() if allow_http else _SafeRedirects()
    opener = urllib.request.build_opener(redirects)
    try:
        _download_once(opener, url, path, limit, timeout)
    except _PassingError:
        time.sleep(_PAUSE)
        try:
            _download_once(opener, url, path, limit, timeout)
        except _PassingError as error:
            raise SourceError(f"{error} (tried twice)") from error


def place(stream: IO[bytes], file: RawFile, folder: Path) -> None:
    """Write a stream as ``folder/file.name`` if it is what the catalogue says.

    Raises:
        SourceError: the size or the SHA-256 is another.
    """
    part = folder / f"{file.name}.part"
    digest = hashlib.sha256()
    size = 0
    try:
        with part.open("wb") as target:
            # A stream that goes on for ever stops here.
            while size <= file.bytes and (block := stream.read(_BLOCK)):
                digest.update(block)
                size += len(block)
                target.write(block)
        if size != file.bytes:
            seen = f"more than {file.bytes:,}" if size > file.bytes else f"{size:,}"
            raise SourceError(f"{file.name} has {seen} bytes instead of {file.bytes:,}")
        if digest.hexdigest() != file.sha256:
            raise SourceError(f"{file.name} has another SHA-256 than the catalogue says")
        os.replace(part, folder / file.name)
    finally:
        part.unlink(missing_ok=True)


def _download_once(
    opener: urllib.request.OpenerDirector, url: str, path: Path, limit: int, timeout: float
) -> None:
    part = path.with_name(path.name + ".part")
    request = urllib.request.Request(url, headers={"User-Agent": "symbiosis-pipelines"})
    received, expected = 0, None
    try:
        with opener.open(request, timeout=timeout) as response, part.open("wb") as target:
            length = response.headers.get("Content-Length", "")
            expected = int(length) if length.isdigit() else None
            if (expected or 0) > limit:
                raise SourceError(f"{url}: {expected:,} bytes, more than the {limit:,} expected")
            with tqdm(
                total=expected, desc=path.name, unit="B", unit_scale=True, dynamic_ncols=True
            ) as bar:
                while block := response.read1(_BLOCK):
                    received += len(block)
                    if received > limit:
                        raise SourceError(f"{url}: more than the {limit:,} bytes expected")
                    target.write(block)
                    bar.update(len(block))
        if expected is not None and received != expected:
            raise _PassingError(
                f"{url}: the connection dropped at {received:,} of {expected:,} bytes"
            )
        os.replace(part, path)
    except urllib.error.HTTPError as error:
        kind = _PassingError if error.code >= 500 else SourceError
        error.close()
        raise kind(f"{url}: HTTP status {error.code} {error.reason}") from error
    except urllib.error.URLError as error:
        raise _PassingError(f"{url}: {_reason(error.reason)}") from error
    except (http.client.HTTPException, ConnectionError, TimeoutError) as error:
        of = "" if expected is None else f" of {expected:,}"
        raise _PassingError(f"{url}: {_reason(error)} after {received:,}{of} bytes") from error
    finally:
        part.unlink(missing_ok=True)


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but not from https to http."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str,
        headers: http.client.HTTPMessage, newurl: str,
    ) -> urllib.request.Request | None:  # fmt: skip
        _demand_safe(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _demand_safe(url: str) -> None:
    if not is_private_or_encrypted(url):
        raise SourceError(f"{url}: not https")


def _reason(error: Any) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split())
