"""The metrics' classifier."""

from __future__ import annotations

import pytest
import torch

from components.errors import UserError
from components.networks.classifier import Classifier


@pytest.mark.parametrize(("channels", "size"), [(1, 28), (3, 32), (1, 8)])
def test_shapes(channels, size):
    network = Classifier(channels, size, classes=7, width=4)
    x = torch.rand(3, channels, size, size)
    assert network.features(x).shape == (3, 128)
    assert network(x).shape == (3, 7)


def test_features_do_not_depend_on_the_batch_when_evaluated():
    network = Classifier(1, 16, classes=3, width=4).eval()
    x = torch.rand(6, 1, 16, 16)
    torch.testing.assert_close(network.features(x)[:2], network.features(x[:2]))
    torch.testing.assert_close(network(x), network.head(network.features(x)))


def test_learns_to_tell_stripes_apart():
    """Horizontal from vertical stripes of random phase, on images it has not seen."""
    torch.manual_seed(0)

    def stripes(n: int) -> tuple[torch.Tensor, torch.Tensor]:
        labels = torch.arange(n) % 2
        wave = torch.sin(torch.arange(12.0) * 1.5 + torch.rand(n, 1) * 6.3) * 0.5 + 0.5
        x = wave[:, None, :, None].expand(n, 1, 12, 12)
        return torch.where(labels.view(n, 1, 1, 1) == 0, x, x.transpose(2, 3)), labels

    network = Classifier(1, 12, classes=2, width=4)
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-2)
    for _ in range(30):
        x, labels = stripes(32)
        loss = torch.nn.functional.cross_entropy(network(x), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    x, labels = stripes(200)
    assert (network.eval()(x).argmax(1) == labels).float().mean() > 0.95


def test_images_too_small_are_refused():
    with pytest.raises(UserError, match="cannot take images of 4 pixels"):
        Classifier(1, 4, classes=2, depth=3)
