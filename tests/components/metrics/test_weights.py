from __future__ import annotations

import hashlib
import io
from pathlib import Path

import pytest
import torch

from components.errors import UserError
from components.metrics.weights import imagenet_weights, inception_weights, read_weights


def save(path: Path, content: object) -> str:
    """Write ``content`` as torch does and return the file's SHA-256."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    path.write_bytes(buffer.getvalue())
    return hashlib.sha256(buffer.getvalue()).hexdigest()


class Payload:
    """Pickles into a call that leaves a mark: what an unsafe reader would execute."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.mark,)


def test_weights_come_back(tmp_path: Path) -> None:
    digest = save(tmp_path / "w.pth", {"a": torch.arange(3.0)})
    assert read_weights(tmp_path / "w.pth", digest)["a"].tolist() == [0, 1, 2]


def test_one_flipped_bit_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    digest = save(path, {"a": torch.arange(3.0)})
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"w\.pth is not the expected weights file"):
        read_weights(path, digest)


def test_code_is_not_unpickled_even_with_the_right_digest(tmp_path: Path) -> None:
    mark = tmp_path / "executed"
    digest = save(tmp_path / "w.pth", {"a": Payload(mark)})
    with pytest.raises(UserError, match="does not hold plain PyTorch weights"):
        read_weights(tmp_path / "w.pth", digest)
    assert not mark.exists()


def test_a_file_that_is_not_torch_s_is_refused(tmp_path: Path) -> None:
    (tmp_path / "w.pth").write_bytes(b"not weights")
    with pytest.raises(UserError, match="does not hold plain PyTorch weights"):
        read_weights(tmp_path / "w.pth", hashlib.sha256(b"not weights").hexdigest())


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"absent\.pth: No such file"):
        inception_weights(tmp_path / "absent.pth", "0" * 64)


def test_installed_imagenet_weights_are_the_expected_ones() -> None:
    weights = imagenet_weights()
    assert weights["_fc.weight"].shape == (1000, 1280)


def test_without_weights_or_network_the_remedy_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    # Port 9 of this machine: nobody answers there, whether or not the machine is online.
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    with pytest.raises(UserError) as caught:
        inception_weights(None, "0" * 64)
    message = str(caught.value)
    assert str(tmp_path / "hub" / "checkpoints") in message
    assert "https://github.com/toshas/torch-fidelity/releases/" in message
    assert "\n" not in message
    assert not any(path.is_file() for path in tmp_path.rglob("*"))
