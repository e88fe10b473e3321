"""Freezing and restoring parameters."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from components.networks.normalisation import normalise
from components.samplers.frozen import frozen


def test_restores_each_parameter_even_after_an_error():
    first, second = nn.Linear(2, 3), nn.Linear(3, 1)
    second.bias.requires_grad_(False)
    with pytest.raises(RuntimeError, match="stop"), frozen(first, second):
        assert not any(p.requires_grad for m in (first, second) for p in m.parameters())
        raise RuntimeError("stop")
    assert all(p.requires_grad for p in first.parameters())
    assert second.weight.requires_grad and not second.bias.requires_grad


def test_computed_weights_are_made_once_and_follow_later_updates():
    layer = nn.Linear(2, 3)
    normalise(layer, "weight")
    with frozen(layer):
        assert layer.weight is layer.weight
        before = layer.weight.clone()
    with torch.no_grad():
        layer.parametrizations.weight.original0.mul_(2.0)
    with frozen(layer):
        torch.testing.assert_close(layer.weight, 2.0 * before)
    assert layer.weight.requires_grad
