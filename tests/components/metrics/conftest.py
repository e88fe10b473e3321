"""Shared by the tests of the metrics: a classifier small enough to check by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn


class PooledClassifier(nn.Module):
    """Features: the image averaged to 4×4 squares. Logits: a fixed random projection of them."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(4)
        self.head = nn.Linear(16, 10)
        with torch.no_grad():
            generator = torch.Generator().manual_seed(0)
            self.head.weight.normal_(generator=generator).mul_(3)

    def features(self, images: Tensor) -> Tensor:
        return self.pool(images).flatten(1)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images))


@pytest.fixture
def classifier() -> PooledClassifier:
    return PooledClassifier()


@pytest.fixture
def images() -> Tensor:
    """60 grey images of 28×28 of various brightness: uint8."""
    generator = torch.Generator().manual_seed(1)
    noise = torch.randint(0, 256, (60, 1, 28, 28), generator=generator).float()
    brightness = torch.rand(60, 1, 1, 1, generator=generator)
    return (noise * brightness).to(torch.uint8)
