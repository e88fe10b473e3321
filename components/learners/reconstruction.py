"""Reconstruction losses: how far decoded images are from those that were encoded.

Dissertation 3.3.1: the decoder's law is a Gaussian of variance 1 at each pixel, so that the weight
β of the loss is the inverse of that variance. The perceptual loss is that of the last rows of
Table 3.1 (Hoshen and Wolf, https://arxiv.org/abs/1806.06029; Johnson et al.,
https://arxiv.org/abs/1603.08155).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from components.errors import UserError
from components.images import as_rgb
from components.networks.classifier import Classifier
from components.networks.layers import centre

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)


class Reconstruction(Protocol):
    """A loss per image: images and their reconstructions, N×C×H×W in [0, 1], to float32 N."""

    def __call__(self, x: Tensor, decoded: Tensor) -> Tensor: ...


def squared(x: Tensor, decoded: Tensor) -> Tensor:
    """½‖x − x̂‖², nats but for a constant: −log p(x|z) of a Gaussian of variance 1 (3.3.1).

    >>> squared(torch.ones(1, 1, 2, 2), torch.zeros(1, 1, 2, 2))
    tensor([2.])
    """
    return 0.5 * (x - decoded).square().flatten(1).sum(dim=1)


def bernoulli(x: Tensor, decoded: Tensor) -> Tensor:
    """Cross-entropy of grey values and decoded probabilities, nats.

    >>> bernoulli(torch.ones(1, 1, 1, 2), torch.full((1, 1, 1, 2), 0.5))
    tensor([1.3863])
    """
    with torch.autocast(x.device.type, enabled=False):  # which refuses probabilities on a GPU
        terms = F.binary_cross_entropy(decoded, x, reduction="none")
    return terms.flatten(1).sum(dim=1)


class FeatureStack(nn.Module):
    """What a frozen convolutional network sees of images, at several depths.

    Args:
        layers: applied one after the other.
        prepare: images in [0, 1] to what the first layer takes.
    """

    def __init__(self, layers: Sequence[nn.Module], prepare: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.layers, self.prepare = nn.ModuleList(layers), prepare
        self.requires_grad_(False).eval()

    def forward(self, images: Tensor) -> list[Tensor]:
        """Map images, N×C×H×W in [0, 1], to what goes into each pooling, and the last output."""
        x, seen = self.prepare(images), []
        for layer in self.layers:
            if isinstance(layer, nn.MaxPool2d):
                seen.append(x)
            x = layer(x)
        return [*seen, x]


class Perceptual:
    """Mean absolute difference of pixels and of each layer's features, times the pixels' number.

    Of the pixels alone it would be Σ|x − x̂|, −log p(x|z) of a Laplace law of scale 1 but for a
    constant: a sum over the image, as of the other losses.

    Args:
        features: frozen network that looks at both images.
    """

    def __init__(self, features: FeatureStack) -> None:
        self.features = features

    def __call__(self, x: Tensor, decoded: Tensor) -> Tensor:
        with torch.no_grad():
            expected = self.features(x)
        total = _mean_difference(x, decoded)
        for wanted, found in zip(expected, self.features(decoded), strict=True):
            total = total + _mean_difference(wanted, found)
        return total * x[0].numel()


def classifier_features(classifier: Classifier) -> FeatureStack:
    """The layers of a data set's own classifier, its 128 features included."""
    return FeatureStack(list(classifier.body), centre)


def vgg_features(weights: Path | None) -> FeatureStack:
    """The five blocks of VGG-16 (Simonyan and Zisserman, https://arxiv.org/abs/1409.1556).

    Args:
        weights: torchvision's state dict of ``vgg16`` as a file; None: torchvision's own download.

    Raises:
        UserError: the weights are neither there nor to be had.
    """
    # Slow to import, and needed by this loss alone.
    from torchvision.models import vgg16

    state = _downloaded() if weights is None else _read(weights)
    own = {k.removeprefix("features."): v for k, v in state.items() if k.startswith("features.")}
    with torch.device("meta"):  # the classifier of 120 million weights is never made
        network = vgg16(weights=None, init_weights=False).features
    try:
        network.load_state_dict(own, assign=True)
    except (RuntimeError, AttributeError):
        raise UserError(f"{weights} does not hold the weights of torchvision's vgg16") from None
    # The last pooling is left out: what goes into it is the fifth block's output.
    return FeatureStack(list(network)[:-1], _as_imagenet)


def _read(path: Path) -> dict[str, Any]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(
            f"no weights of VGG-16 in {path}: put torchvision's vgg16-397923af.pth there, or set "
            "vgg_weights null to download it"
        ) from None
    except Exception as error:  # whatever a file that is no state dict makes of unpickling
        raise UserError(f"{path} is no file of weights: {type(error).__name__}") from None
    return dict(state) if isinstance(state, dict) else {}


def _downloaded() -> dict[str, Any]:
    from torchvision.models import VGG16_Weights

    try:
        state = VGG16_Weights.IMAGENET1K_V1.get_state_dict(
            progress=False, check_hash=True, weights_only=True
        )
    except (OSError, RuntimeError) as error:  # URLError is an OSError; a wrong hash the other
        raise UserError(
            f"the weights of VGG-16 cannot be downloaded ({error}): give their path in "
            "vgg_weights, or take the features of the data set's own classifier"
        ) from None
    return dict(state)


def _as_imagenet(images: Tensor) -> Tensor:
    mean = images.new_tensor(IMAGENET_MEAN).view(3, 1, 1)
    deviation = images.new_tensor(IMAGENET_DEVIATION).view(3, 1, 1)
    return (as_rgb(images) - mean) / deviation


def _mean_difference(x: Tensor, y: Tensor) -> Tensor:
    return (x.float() - y.float()).abs().flatten(1).mean(dim=1)
