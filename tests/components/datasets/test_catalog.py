"""The catalogue: what is shipped is valid, and each mistake is one clear line."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from components.datasets.catalog import (
    ImageFolderEntry,
    ImagesEntry,
    find_entry,
    is_private_or_encrypted,
)
from components.errors import UserError

CATALOG = Path(__file__).parents[3] / "data" / "catalog.yaml"
FOLDER = """
mine:
  kind: image-folder
  path: photographs
  size: 64
  channels: 3
  on_unreadable: skip
  test_fraction: 0.1
"""


@pytest.mark.parametrize("name", list(yaml.safe_load(CATALOG.read_text())))
def test_every_shipped_entry_is_valid(name: str) -> None:
    entry = find_entry(CATALOG, name)
    assert entry.licence and "licence" in entry.model_fields_set
    if isinstance(entry, ImageFolderEntry):  # its folder is the user's to fill
        assert entry.path == f"data/by-hand/{name}"
    elif isinstance(entry, ImagesEntry):
        names = [file.name for file in entry.files.all()]
        assert len(set(names)) == 4


def test_the_example_in_the_comments_is_valid(tmp_path: Path) -> None:
    lines = CATALOG.read_text().splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("#   my-photographs"))
    example = []
    for line in lines[start:]:
        if not line.startswith("#   "):
            break
        example.append(line[4:])
    path = tmp_path / "catalog.yaml"
    path.write_text("\n".join(example))
    assert isinstance(find_entry(path, "my-photographs"), ImageFolderEntry)


def test_unknown_name_lists_the_known_and_the_nearest() -> None:
    with pytest.raises(UserError) as caught:
        find_entry(CATALOG, "fashion_mnist")
    said = str(caught.value)
    assert "no data set 'fashion_mnist'" in said and "mnist, digits, 25-gaussians" in said
    assert said.endswith("did you mean fashion-mnist?") and "\n" not in said


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("size: 64", "size: sixty"), "mine.size: 'sixty' is not allowed; it should be a valid in"),
        (("size: 64", "size: 2"), r"mine.size: 2 is not allowed; .* greater than or equal to 4"),
        (("size: 64", "sise: 64"), r"mine.size: is missing \(and 1 more\)"),
        (("channels: 3", "channels: 4"), "mine.channels: 4 is not allowed; it should be 1 or 3"),
        (("skip", "ignore"), "mine.on_unreadable: 'ignore' is not allowed; .*'skip' or 'error'"),
        (("0.1", "1.0"), "mine.test_fraction: 1.0 is not allowed; .* less than 1"),
        (("  path:", "  colour: red\n  path:"), "mine.colour: is not a setting; remove it"),
        (("image-folder", "pictures"), "mine.*pictures.*image-folder"),
        (("  kind: image-folder\n", ""), "mine.*kind"),
        (("mine:", "../mine:"), "name '../mine' must be a plain file name"),
    ],
)
def test_wrong_entry(tmp_path: Path, change: tuple[str, str], said: str) -> None:
    path = tmp_path / "catalog.yaml"
    path.write_text(FOLDER.replace(*change))
    with pytest.raises(UserError, match=said) as caught:
        find_entry(path, "../mine" if "../mine" in change[1] else "mine")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ((".amazonaws.com/mnist", ".amazonaws.com/mnist\n        - http://a.org"), "https address"),
        (("name: train-images-idx3-ubyte", "name: ../../passwd"), "train.images.name: .*plain"),
        (("ba891046", "BA891046"), r"mnist\.files\.train\.images\.sha256: "),
    ],
)
def test_wrong_sources_and_files(tmp_path: Path, change: tuple[str, str], said: str) -> None:
    shipped = CATALOG.read_text()
    path = tmp_path / "catalog.yaml"
    start = shipped.index("\nmnist:")
    path.write_text(shipped[:start] + shipped[start:].replace(*change, 1))
    with pytest.raises(UserError, match=said) as caught:
        find_entry(path, "mnist")
    assert "\n" not in str(caught.value)
    find_entry(path, "fashion-mnist")  # the others stay usable


@pytest.mark.parametrize(
    ("text", "said"), [("a: [", "is not YAML"), ("", "known: none"), ("- a", "known: none")]
)
def test_no_catalogue(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "catalog.yaml"
    with pytest.raises(UserError, match="missing; run from the repository's folder"):
        find_entry(path, "mnist")
    path.write_text(text)
    with pytest.raises(UserError, match=said):
        find_entry(path, "mnist")


@pytest.mark.parametrize(
    ("url", "safe"),
    [
        ("https://a.org/b", True),
        ("http://127.0.0.1:80/", True),
        ("http://[::1]/", True),
        ("http://localhost/", True),
        ("http://a.org", False),
        ("http://127.0.0.1.a.org", False),
        ("http://localhost@a.org", False),
        ("file:///etc/passwd", False),
        ("ftp://a.org", False),
        ("https://", False),
        ("", False),
    ],
)
def test_which_addresses_are_safe(url: str, safe: bool) -> None:
    assert is_private_or_encrypted(url) is safe
