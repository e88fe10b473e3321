from __future__ import annotations

import hashlib
import io
from pathlib import Path

import pytest
import torch
from sklearn.datasets import load_sample_image
from torch import Tensor, nn
from torch_fidelity.feature_extractor_base import FeatureExtractorBase
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from components.errors import UserError
from components.images import resize, to_unit
from components.metrics.extractors import (
    IMAGENET,
    INCEPTION,
    extract_features,
    load_extractor,
    register_extractors,
)


@pytest.fixture(scope="module")
def imagenet() -> FeatureExtractorBase:
    return load_extractor(IMAGENET)


class UninitialisedInception(FeatureExtractorInceptionV3):
    """torch-fidelity's network without its weights, to learn what a weights file must hold."""

    def load_state_dict(self, state_dict: object) -> None:
        pass


@pytest.fixture(scope="module")
def inception_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights in the very format of torch-fidelity's own file."""
    nothing = io.BytesIO()
    torch.save({}, nothing)
    nothing.seek(0)
    network = UninitialisedInception(INCEPTION, ["2048"], feature_extractor_weights_path=nothing)
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, generator=generator)
    path = tmp_path_factory.mktemp("inception") / "weights.pth"
    torch.save(network.state_dict(), path)
    return path


def load_inception(path: Path) -> FeatureExtractorBase:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return load_extractor(INCEPTION, inception_path=path, inception_sha256=digest)


@pytest.mark.parametrize(
    ("picture", "class_index"), [("china.jpg", 698), ("flower.jpg", 985)], ids=["palace", "daisy"]
)
def test_imagenet_network_recognises_photographs(
    imagenet: FeatureExtractorBase, picture: str, class_index: int
) -> None:
    # The network at its own resolution, 224 px: only with every weight in its place is the answer
    # right (ImageNet's classes 698 'palace' and 985 'daisy').
    photograph = torch.from_numpy(load_sample_image(picture).copy()).permute(2, 0, 1)[None]
    height, width = photograph.shape[-2:]
    left = (width - height) // 2
    square = resize(to_unit(photograph[..., left : left + height]), 224)
    with torch.no_grad():
        assert imagenet.network((square - 0.5) / 0.5).argmax().item() == class_index


def test_imagenet_features_are_finite_and_deterministic(
    imagenet: FeatureExtractorBase, images: Tensor
) -> None:
    first = extract_features(images, imagenet, 16)
    second = extract_features(images, imagenet, 16)
    assert first.features.shape == (60, 1280) and first.features.dtype == torch.float32
    assert first.logits.shape == (60, 1000)
    assert first.features.isfinite().all()
    assert torch.pdist(first.features).min() > 0
    assert torch.equal(first.features, second.features)


def test_imagenet_features_do_not_depend_on_the_batch_size(
    imagenet: FeatureExtractorBase, images: Tensor
) -> None:
    by_7 = extract_features(images, imagenet, 7).features
    by_60 = extract_features(images, imagenet, 60).features
    torch.testing.assert_close(by_7, by_60, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (3, 64, 64), (3, 96, 96), (1, 20, 40)])
def test_imagenet_takes_any_size(
    imagenet: FeatureExtractorBase, shape: tuple[int, int, int]
) -> None:
    x = torch.randint(0, 256, (2, *shape), generator=torch.Generator().manual_seed(0))
    features = extract_features(x.to(torch.uint8), imagenet, 2).features
    assert features.shape == (2, 1280) and features.isfinite().all()


def test_a_grey_image_is_the_colour_image_of_equal_channels(
    imagenet: FeatureExtractorBase, images: Tensor
) -> None:
    grey = extract_features(images[:4], imagenet, 4).features
    colour = extract_features(images[:4].repeat(1, 3, 1, 1), imagenet, 4).features
    torch.testing.assert_close(grey, colour, rtol=1e-5, atol=1e-5)


def test_classifier_features_are_its_own(classifier: nn.Module, images: Tensor) -> None:
    extracted = extract_features(images, load_extractor("classifier", classifier=classifier), 9)
    torch.testing.assert_close(extracted.features, classifier.features(to_unit(images)))
    torch.testing.assert_close(extracted.logits, classifier(to_unit(images)).detach())


def test_the_caller_s_classifier_is_left_alone(classifier: nn.Module) -> None:
    load_extractor("classifier", classifier=classifier)
    assert classifier.training
    assert all(p.requires_grad for p in classifier.parameters())


def test_inception_is_torch_fidelity_s(inception_file: Path, images: Tensor) -> None:
    extractor = load_inception(inception_file)
    assert type(extractor) is FeatureExtractorInceptionV3
    extracted = extract_features(images[:3], extractor, 2)
    assert extracted.features.shape == (3, 2048) and extracted.logits.shape == (3, 1008)
    reference = FeatureExtractorInceptionV3(
        INCEPTION, ["2048", "logits_unbiased"], feature_extractor_weights_path=str(inception_file)
    )
    features, logits = reference(images[:3].repeat(1, 3, 1, 1))
    assert features.std() > 1e-3
    torch.testing.assert_close(extracted.features, features, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(extracted.logits, logits, rtol=1e-4, atol=1e-4)


def test_other_inception_weights_than_fid_s_are_refused(inception_file: Path) -> None:
    with pytest.raises(UserError, match="not the expected weights file"):
        load_extractor(INCEPTION, inception_path=inception_file)


def test_nothing_is_printed(
    inception_file: Path, images: Tensor, capfd: pytest.CaptureFixture[str]
) -> None:
    extract_features(images[:1], load_inception(inception_file), 1)
    extract_features(images[:1], load_extractor(IMAGENET), 1)
    assert capfd.readouterr() == ("", "")


def test_registering_again_is_harmless() -> None:
    register_extractors()
    register_extractors()


def test_unknown_extractor_names_the_known_ones() -> None:
    with pytest.raises(UserError, match="'vgg19'; known: inception-v3-compat, imagenet"):
        load_extractor("vgg19")


def test_classifier_extractor_without_classifier() -> None:
    with pytest.raises(UserError, match="needs a classifier"):
        load_extractor("classifier")


@pytest.mark.parametrize(
    "images",
    [
        torch.rand(2, 1, 8, 8),
        torch.zeros(2, 8, 8, dtype=torch.uint8),
        torch.zeros(0, 1, 8, 8, dtype=torch.uint8),
    ],
    ids=["float", "no channels", "none"],
)
def test_only_stored_images_are_taken(classifier: nn.Module, images: Tensor) -> None:
    with pytest.raises(ValueError, match="uint8 images N×C×H×W"):
        extract_features(images, load_extractor("classifier", classifier=classifier), 2)
