"""The spectral penalty against singular values."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from components.networks.energy_conv import StridedEnergy
from components.networks.normalisation import weighted_layers
from components.networks.spectral import SpectralRegulariser


def make(normalisation: str = "none") -> tuple[nn.Module, SpectralRegulariser]:
    torch.manual_seed(0)
    network = StridedEnergy(3, 8, [6, 10], normalisation=normalisation)
    return network, SpectralRegulariser(network, torch.Generator().manual_seed(0))


def exact(network: nn.Module) -> torch.Tensor:
    return sum(
        torch.linalg.svdvals(layer.weight.flatten(1))[0] for _, layer in weighted_layers(network)
    )


@pytest.mark.parametrize("normalisation", ["none", "weight"])
def test_penalty_and_gradient_are_those_of_the_largest_singular_values(normalisation):
    network, penalty = make(normalisation)
    for _ in range(300):
        value = penalty()
    torch.testing.assert_close(value, exact(network), rtol=1e-4, atol=0.0)
    parameters = [p for name, p in network.named_parameters() if "bias" not in name]
    torch.testing.assert_close(
        torch.autograd.grad(value, parameters),
        torch.autograd.grad(exact(network), parameters),
        rtol=0.0,
        atol=5e-3,
    )


def test_first_estimate_is_close_from_below():
    network, penalty = make()
    assert 0.95 * exact(network) < penalty() <= exact(network) * (1.0 + 1e-5)


def test_estimate_follows_changing_weights():
    network, penalty = make()
    with torch.no_grad():
        for p in network.parameters():
            p.mul_(3.0)
    assert 0.95 * exact(network) < penalty()


def test_state_resumes_exactly_and_holds_no_weights():
    network, penalty = make()
    saved = {name: value.clone() for name, value in penalty.state_dict().items()}
    expected = penalty()
    other = SpectralRegulariser(network, torch.Generator().manual_seed(1))
    assert not torch.equal(other(), expected)
    other.load_state_dict(saved)
    assert torch.equal(other(), expected)
    assert set(saved) == {"v0", "v1", "v2"} and not list(penalty.parameters())
