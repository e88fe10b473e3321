"""Encoder and decoder of the small auto-encoders."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from components.errors import UserError
from components.networks.dcgan import DCGANDecoder, DCGANEncoder


def of_type(network: nn.Module, kind: type) -> list[nn.Module]:
    return [module for module in network.modules() if isinstance(module, kind)]


@pytest.mark.parametrize("size", [8, 20, 28, 32, 36, 64])
@pytest.mark.parametrize("channels", [1, 3])
def test_shapes(size, channels):
    x = torch.rand(2, channels, size, size)
    codes = DCGANEncoder(channels, size, width=4, latent=7)(x)
    assert codes.shape == (2, 7)
    assert DCGANDecoder(channels, size, width=4, latent=7)(codes).shape == x.shape


def test_decoder_mirrors_the_encoder():
    encoder = DCGANEncoder(3, 64, width=8, latent=10)
    decoder = DCGANDecoder(3, 64, width=8, latent=10)
    down = [(c.in_channels, c.out_channels) for c in of_type(encoder, nn.Conv2d)]
    up = [(c.out_channels, c.in_channels) for c in of_type(decoder, nn.ConvTranspose2d)]
    assert down == [(3, 8), (8, 16), (16, 32), (32, 64)]
    assert up == down[::-1]
    assert encoder.head.in_features == 64 * 4 * 4


def test_batch_norm_sits_between_the_layers_or_nowhere():
    networks = [
        network(1, 32, width=4, latent=5, batch_norm=normed)
        for normed in (True, False)
        for network in (DCGANEncoder, DCGANDecoder)
    ]
    assert [len(of_type(network, nn.BatchNorm2d)) for network in networks] == [2, 3, 0, 0]


def test_depth_can_be_chosen():
    assert len(of_type(DCGANEncoder(1, 28, 4, 5, depth=1), nn.Conv2d)) == 1
    assert DCGANDecoder(1, 28, 4, 5, depth=1)(torch.zeros(1, 5)).shape == (1, 1, 28, 28)


@pytest.mark.parametrize("network", [DCGANEncoder, DCGANDecoder])
def test_sizes_that_do_not_divide_are_refused(network):
    with pytest.raises(UserError, match="multiple of 8"):
        network(1, 28, 4, 5, depth=3)
    with pytest.raises(UserError, match="cannot take images of 27 pixels"):
        network(1, 27, 4, 5)


def test_an_auto_encoder_learns_a_batch():
    """The pair has the capacity to bring the Bernoulli loss of 8 binary images close to 0."""
    torch.manual_seed(0)
    x = (torch.rand(8, 1, 8, 8) > 0.5).float()
    encoder, decoder = DCGANEncoder(1, 8, 16, 8), DCGANDecoder(1, 8, 16, 8)
    optimiser = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=1e-2)
    for _ in range(150):
        loss = nn.functional.binary_cross_entropy_with_logits(decoder(encoder(x)), x)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.1
