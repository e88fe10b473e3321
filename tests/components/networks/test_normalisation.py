"""Weight normalisation and its data-dependent start; spectral normalisation."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from components.errors import UserError
from components.networks.energy_conv import StridedEnergy
from components.networks.energy_residual import ResidualEnergy
from components.networks.mlp import FullyConnectedEnergy
from components.networks.normalisation import initialise_from, normalise, remembers, weighted_layers


def outputs(network: nn.Module, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """Run the network and return what each of its weighted layers gave."""
    seen: dict[str, torch.Tensor] = {}
    for name, layer in weighted_layers(network):
        layer.register_forward_hook(lambda _, __, out, name=name: seen.update({name: out}))
    network(x)
    return seen


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda: FullyConnectedEnergy(3, [16, 16], normalisation="weight"), (200, 3)),
        (lambda: StridedEnergy(1, 16, [8, 8, 16], normalisation="weight"), (32, 1, 16, 16)),
        (lambda: ResidualEnergy(3, ["conv 8", "down 8", "block 16"]), (32, 3, 8, 8)),
    ],
    ids=["points", "convolutions", "residual"],
)
def test_initialisation_whitens_every_layer(make, shape):
    torch.manual_seed(0)
    network, batch = make(), torch.rand(shape) * 3.0 + 1.0
    initialise_from(network, batch)
    seen = outputs(network, batch)
    assert len(seen) == len(weighted_layers(network))
    for out in seen.values():
        dims = (0, 2, 3) if out.dim() == 4 else (0,)
        variance, mean = torch.var_mean(out, dims, correction=0)
        torch.testing.assert_close(mean, torch.zeros_like(mean), rtol=0.0, atol=1e-3)
        torch.testing.assert_close(variance, torch.ones_like(variance), rtol=1e-3, atol=0.0)


def test_initialisation_leaves_directions_and_other_networks_alone():
    network = FullyConnectedEnergy(3, [8], normalisation="weight")
    directions = [p.clone() for name, p in network.named_parameters() if "original1" in name]
    initialise_from(network, torch.randn(20, 3))
    after = [p for name, p in network.named_parameters() if "original1" in name]
    assert all(torch.equal(a, b) for a, b in zip(directions, after, strict=True))
    plain = FullyConnectedEnergy(3, [8])
    before = {name: value.clone() for name, value in plain.state_dict().items()}
    initialise_from(plain, torch.randn(20, 3))
    torch.testing.assert_close(plain.state_dict(), before, rtol=0.0, atol=0.0)


def test_a_constant_batch_is_refused():
    network = FullyConnectedEnergy(3, [8], normalisation="weight")
    with pytest.raises(UserError, match=r"body\.0\.0 is constant"):
        initialise_from(network, torch.ones(5, 3))
    assert not network.body[0][0]._forward_hooks


def test_weight_normalisation_splits_length_and_direction():
    layer = nn.Conv2d(2, 3, 3)
    weight = layer.weight.detach().clone()
    normalise(layer, "weight")
    torch.testing.assert_close(layer.weight, weight)
    g, v = (layer.parametrizations.weight.get_parameter(f"original{i}") for i in (0, 1))
    with torch.no_grad():
        g.fill_(2.0)
        v.mul_(5.0)
    torch.testing.assert_close(layer.weight.flatten(1).norm(dim=1), torch.full((3,), 2.0))


def test_spectral_normalisation_is_of_the_reshaped_matrix():
    torch.manual_seed(0)
    layer = nn.Conv2d(4, 6, 3)
    normalise(layer, "spectral")
    with torch.no_grad():
        for _ in range(100):
            layer(torch.zeros(1, 4, 3, 3))
    norm = torch.linalg.matrix_norm(layer.weight.flatten(1), ord=2)
    assert norm.item() == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize(
    ("kind", "expected"), [("none", False), ("weight", False), ("spectral", True)]
)
def test_spectral_normalisation_alone_remembers(kind, expected):
    network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.SiLU())
    normalise(network, kind)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network(torch.rand(2, 1, 5, 5))
    changed = any(not torch.equal(v, before[k]) for k, v in network.state_dict().items())
    assert remembers(network) == changed == expected
