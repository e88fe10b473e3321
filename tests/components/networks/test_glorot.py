"""Weights at the start: their variance, and that a signal passes through."""

from __future__ import annotations

import pytest
import torch

from components.networks.glorot import convolution, linear
from components.networks.registry import build


def test_variance_is_two_over_what_enters_and_leaves() -> None:
    torch.manual_seed(0)
    made = convolution(32, 64, 3)
    assert made.weight.var().item() == pytest.approx(2.0 / (9 * (32 + 64)), rel=0.03)
    assert made.padding == (1, 1) and made.bias is not None and not made.bias.any()
    assert convolution(4, 4, 1, bias=False).bias is None
    plain = linear(100, 300)
    assert plain.weight.var().item() == pytest.approx(2.0 / 400, rel=0.03)
    assert not plain.bias.any()


def test_a_fresh_discriminator_passes_on_what_it_sees() -> None:
    """With PyTorch's own weights the logits of these pairs differ by a fortieth of it."""
    torch.manual_seed(0)
    made = build(
        "diffusion-discriminator", channels=1, size=16, width=16, multipliers=[1, 2, 4, 4],
        down=[False, True, True, True],
    )  # fmt: skip
    with torch.no_grad():
        logits = made(
            torch.randn(64, 1, 16, 16), torch.zeros(64).long(), torch.randn(64, 1, 16, 16)
        )
    assert logits.std() > 0.005
