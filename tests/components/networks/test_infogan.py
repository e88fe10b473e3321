"""The auto-encoder of Table 3.6."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from components.errors import UserError
from components.networks.infogan import InfoGANDecoder, InfoGANEncoder


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


# M of the table: 7 for MNIST, 8 for CIFAR-10, 16 for CelebA.
@pytest.mark.parametrize(
    ("channels", "size", "latent", "side"), [(1, 28, 20, 7), (3, 32, 64, 8), (3, 64, 64, 16)]
)
def test_layers_are_those_of_the_table(channels, size, latent, side):
    features = 128 * side * side
    with torch.device("meta"):
        encoder = InfoGANEncoder(channels, size, latent)
        decoder = InfoGANDecoder(channels, size, latent)
    # A layer's weights, then its bias, or the scale and shift of the batch norm after it.
    assert count(encoder) == (
        (16 * channels * 64 + 64)
        + (16 * 64 * 128 + 2 * 128)
        + (features * 1024 + 2 * 1024)
        + (1024 * latent + latent)
    )
    assert count(decoder) == (
        (latent * 1024 + 2 * 1024)
        + (1024 * features + 2 * features)
        + (16 * 128 * 64 + 2 * 64)
        + (16 * 64 * channels + channels)
    )


@pytest.mark.parametrize(("channels", "size"), [(1, 4), (1, 28), (3, 20)])
def test_each_strided_layer_halves_or_doubles(channels, size):
    sides: list[tuple[int, int]] = []

    def note(_: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        sides.append((inputs[0].shape[-1], output.shape[-1]))

    encoder = InfoGANEncoder(channels, size, latent=5, width=4, hidden=8)
    decoder = InfoGANDecoder(channels, size, latent=5, width=4, hidden=8)
    for module in [*encoder.modules(), *decoder.modules()]:
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            module.register_forward_hook(note)
    codes = encoder(torch.rand(3, channels, size, size))
    assert codes.shape == (3, 5)
    assert decoder(codes).shape == (3, channels, size, size)
    half, quarter = size // 2, size // 4
    assert sides == [(size, half), (half, quarter), (quarter, half), (half, size)]


@pytest.mark.parametrize("network", [InfoGANEncoder, InfoGANDecoder])
@pytest.mark.parametrize("size", [0, 2, 27, 30])
def test_sizes_that_do_not_divide_are_refused(network, size):
    with pytest.raises(UserError, match=f"multiple of 4 pixels, not {size}"):
        network(1, size, 5)


def test_an_auto_encoder_learns_a_batch():
    """The pair has the capacity to bring the Bernoulli loss of 8 binary images close to 0."""
    torch.manual_seed(0)
    x = (torch.rand(8, 1, 8, 8) > 0.5).float()
    encoder, decoder = InfoGANEncoder(1, 8, 8, 8, 32), InfoGANDecoder(1, 8, 8, 8, 32)
    optimiser = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=1e-2)
    for _ in range(60):
        loss = nn.functional.binary_cross_entropy_with_logits(decoder(encoder(x)), x)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.1
