"""Reconstruction losses."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from components.errors import UserError
from components.learners.reconstruction import (
    Perceptual,
    bernoulli,
    classifier_features,
    squared,
    vgg_features,
)
from components.networks.classifier import Classifier


def images(seed: int, count: int = 3) -> torch.Tensor:
    return torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(seed))


def test_squared_is_a_gaussian_of_unit_variance() -> None:
    x, decoded = images(0), images(1)
    law = torch.distributions.Normal(decoded, 1.0)
    expected = -law.log_prob(x).flatten(1).sum(dim=1) - 32.0 * math.log(2.0 * math.pi)
    torch.testing.assert_close(squared(x, decoded), expected)


def test_bernoulli_is_its_likelihood() -> None:
    x, decoded = images(0).round(), images(1)
    law = torch.distributions.Bernoulli(decoded)
    torch.testing.assert_close(bernoulli(x, decoded), -law.log_prob(x).flatten(1).sum(dim=1))
    assert bernoulli(x, x).max() < 1e-4


def test_perceptual_by_hand_and_frozen() -> None:
    torch.manual_seed(0)
    network = Classifier(1, 8, 3, width=4).eval()
    features = classifier_features(network)
    x, decoded = images(0), images(1).requires_grad_()
    seen, found = features(x), features(decoded)
    assert [tuple(f.shape[1:]) for f in seen] == [(4, 8, 8), (8, 4, 4), (128,)]
    torch.testing.assert_close(seen[-1], network.features(x))
    expected = torch.stack(
        [64.0 * ((a - b).abs().flatten(1).mean(dim=1)) for a, b in zip(seen, found, strict=True)]
    ).sum(dim=0) + (x - decoded).abs().flatten(1).sum(dim=1)
    loss = Perceptual(features)
    torch.testing.assert_close(loss(x, decoded), expected)
    assert torch.equal(loss(x, x), torch.zeros(3))
    loss(x, decoded).sum().backward()
    assert decoded.grad is not None and decoded.grad.abs().sum() > 0
    assert all(p.grad is None for p in features.parameters())


def test_vgg_from_a_file(tmp_path: Path) -> None:
    from torchvision.models import vgg16

    with torch.device("meta"):
        layout = vgg16(weights=None, init_weights=False).features.state_dict()
    weights = {f"features.{k}": torch.full(v.shape, 1e-3) for k, v in layout.items()}
    torch.save({**weights, "classifier.0.bias": torch.zeros(1)}, tmp_path / "vgg.pth")
    features = vgg_features(tmp_path / "vgg.pth")
    seen = features(torch.rand(2, 1, 32, 32))
    assert [f.shape[1] for f in seen] == [64, 128, 256, 512, 512]
    assert [f.shape[2] for f in seen] == [32, 16, 8, 4, 2]


def test_vgg_that_is_not_to_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="no weights of VGG-16 in"):
        vgg_features(tmp_path / "none.pth")
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(UserError, match="is no file of weights"):
        vgg_features(tmp_path / "text.pth")
    torch.save({"features.0.weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(UserError, match="does not hold the weights"):
        vgg_features(tmp_path / "other.pth")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for name in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # where nobody listens
    monkeypatch.setenv("no_proxy", "")
    with pytest.raises(UserError, match="cannot be downloaded"):
        vgg_features(None)
