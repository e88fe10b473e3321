"""Residual energies against Table 4.9 and section 4.4.1."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from components.errors import UserError
from components.networks.energy_residual import LAYOUTS, ResidualBlock, ResidualEnergy


def blocks(energy: ResidualEnergy) -> list[ResidualBlock]:
    return [module for module in energy.modules() if isinstance(module, ResidualBlock)]


# Typed from the table once more, as (channels, down), so that a slip in LAYOUTS shows.
@pytest.mark.parametrize(
    ("layout", "stem", "expected"),
    [
        ("small", 64, [(64, 1), (64, 0), (64, 0), (128, 1), (128, 0), (128, 0)]),
        ("cifar10", 128, [(128, 1), (128, 0), (256, 1), (256, 0), (256, 1), (256, 0)]),
        (
            "celeba64",
            64,
            [(64, 1), (64, 0), (128, 1), (128, 0), (128, 1), (256, 0), (256, 1), (256, 0)],
        ),
        (
            "lsun64",
            64,
            [
                *[(64, 1), (64, 0), (128, 1), (128, 0), (128, 1)],
                *[(256, 0), (256, 0), (256, 1), (256, 0)],
            ],
        ),
        (
            "celebahq256",
            64,
            [
                *[(64, 1), (64, 0), (128, 1), (128, 0), (128, 1), (128, 0)],
                *[(256, 1), (256, 0), (256, 1), (256, 0), (512, 1), (512, 0)],
            ],
        ),
    ],
)
def test_layouts(layout, stem, expected):
    energy = ResidualEnergy(3, layout, normalisation="none")
    assert energy.body[0].out_channels == stem
    assert [(b.residual[-1].out_channels, int(b.down)) for b in blocks(energy)] == expected
    assert energy.head.linear.in_features == expected[-1][0]


def test_every_layout_has_a_test():
    assert set(LAYOUTS) == {"small", "cifar10", "celeba64", "lsun64", "celebahq256"}


def test_energies_and_their_gradients_are_finite():
    torch.manual_seed(0)
    x = torch.rand(2, 1, 28, 28, requires_grad=True)
    energies = ResidualEnergy(1, "small")(x)
    (gradient,) = torch.autograd.grad(energies.sum(), x)
    assert energies.shape == (2,) and energies.isfinite().all()
    assert gradient.isfinite().all() and (gradient != 0.0).any()


@pytest.mark.parametrize(("channels", "filters"), [(3, 3), (3, 5)])
def test_halving_block_is_the_average_of_the_whole_one(channels, filters):
    block = ResidualBlock(channels, filters, down=False)
    x = torch.randn(2, channels, 6, 6)
    whole = block(x)
    block.down = True
    torch.testing.assert_close(block(x), nn.functional.avg_pool2d(whole, 2))


def test_block_without_residual_is_its_skip():
    block = ResidualBlock(3, 3, down=False)
    nn.init.zeros_(block.residual[-1].weight)
    nn.init.zeros_(block.residual[-1].bias)
    x = torch.randn(2, 3, 4, 4)
    torch.testing.assert_close(block(x), x)


def test_pooling_sums_over_positions():
    """With the same features at every position, energy − bias grows as their number."""
    energy = ResidualEnergy(1, ["conv 4"], normalisation="none")
    nn.init.zeros_(energy.body[0].weight)
    small, large = (energy(torch.rand(1, 1, n, n)) - energy.head.linear.bias for n in (4, 8))
    torch.testing.assert_close(large, 4.0 * small)


@pytest.mark.parametrize(
    ("layout", "said"),
    [
        ("imagenet", "known are small, cifar10"),
        (["conv 8", "up 8"], "conv, down or block"),
        (["conv 8", "down"], "conv, down or block"),
        (["down 8"], "one conv"),
        (["conv 8", "conv 8"], "one conv"),
        ([], "one conv"),
    ],
)
def test_unreadable_layouts_are_refused(layout, said):
    with pytest.raises(UserError, match=said):
        ResidualEnergy(1, layout)
