"""Group normalisation against PyTorch's, values and gradients; Eq. 6.13."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from components.errors import UserError
from components.networks.group_norm import EPSILON, GroupNorm, groups_of


def maps(mean: float = 0.0, dtype: torch.dtype = torch.float64) -> Tensor:
    x = torch.randn(3, 8, 5, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return (mean + x).to(dtype).contiguous(memory_format=torch.channels_last)


def found_and_true(layer: GroupNorm, x: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Result and gradients by x, scale and shift: of the layer, and of PyTorch's in float64."""
    weights = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    found = []
    for own in (True, False):
        leaves = [tensor.detach().clone() for tensor in (x, layer.scale, layer.shift)]
        given, scale, shift = ((leaf if own else leaf.double()).requires_grad_() for leaf in leaves)
        if own:
            layer.scale, layer.shift = nn.Parameter(scale), nn.Parameter(shift)
            scale, shift = layer.scale, layer.shift
            y = layer(given)
        else:
            y = functional.group_norm(given, layer.groups, scale, shift, EPSILON)
        (y * weights).sum().backward()
        found.append([y.detach(), *(leaf.grad for leaf in (given, scale, shift))])
    return found[0], found[1]


@pytest.mark.parametrize("groups", [1, 2, 8])
@pytest.mark.parametrize("mean", [0.0, 30.0])
def test_it_is_pytorchs_in_float64(groups: int, mean: float) -> None:
    """PyTorch's own in float32 is off by up to 1e-3 at a mean of 30."""
    layer = GroupNorm(8, groups)
    nn.init.normal_(layer.scale)
    nn.init.normal_(layer.shift)
    for found, true in zip(*found_and_true(layer, maps(mean, torch.float32)), strict=True):
        assert found.dtype == torch.float32
        torch.testing.assert_close(found.double(), true, rtol=1e-5, atol=1e-4)


def test_bfloat16_stays_it_and_is_nearly_as_exact_as_its_rounding() -> None:
    found = GroupNorm(8, 2)(maps(3.0, torch.bfloat16))
    expected = functional.group_norm(maps(3.0, torch.bfloat16).float(), 2, eps=EPSILON)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), expected, rtol=0.02, atol=0.05)


def test_an_adaptive_one_scales_and_shifts_by_w() -> None:
    """Eq. 6.13: μ(w) + σ(w) · GN(x), each item by its own w."""
    layer, x = GroupNorm(8, 2, embedding=5), maps(1.0, torch.float32)
    w = torch.randn(3, 5, generator=torch.Generator().manual_seed(2))
    scale, shift = layer.affine(w).chunk(2, dim=1)
    plain = functional.group_norm(x, 2, eps=EPSILON)
    expected = shift[:, :, None, None] + scale[:, :, None, None] * plain
    torch.testing.assert_close(layer(x, w), expected, rtol=1e-4, atol=1e-4)
    layer(x, w).square().sum().backward()
    assert layer.affine.weight.grad.abs().sum() > 0.0


def test_groups() -> None:
    assert [groups_of(channels) for channels in (3, 8, 16, 512)] == [1, 2, 4, 32]
    with pytest.raises(UserError, match="10 channels do not make 4 groups"):
        GroupNorm(10, 4)
