"""Gradients and Laplacians against the Hessian that autograd makes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from components.networks.derivatives import (
    Slope,
    estimated_slope,
    exact_slope,
    forward_slope,
    gradient,
)
from components.networks.registry import build

POINTS: dict[str, dict[str, Any]] = {
    "swish": {"hidden": [8, 6, 5]},
    "tanh": {"hidden": [8, 6], "nonlinearity": "tanh", "input_scale": 2.5},
    "leaky": {"hidden": [8, 6], "nonlinearity": "leaky_relu"},
    "relu": {"hidden": [8, 6], "nonlinearity": "relu"},
    "weight": {"hidden": [8, 6], "normalisation": "weight"},
    "fourier": {"hidden": [8], "fourier": [0.7, 2.0], "fourier_count": 3, "input_scale": 1.5},
}


def fresh(kind: str, **settings: Any) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build(kind, **settings).eval()


def close(found: Any, expected: Any) -> None:
    """Heads are float32, so that all else is."""
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=2e-6)


def points(count: int = 7, size: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, size, generator=generator)


def by_hessians(energy: nn.Module, x: Tensor) -> Slope:
    """One item at a time."""

    def one(item: Tensor) -> Tensor:
        return energy(item[None])[0]

    size = x[0].numel()
    slopes = [torch.autograd.functional.jacobian(one, item) for item in x]
    hessians = [torch.autograd.functional.hessian(one, item) for item in x]
    traces = [hessian.reshape(size, size).trace() for hessian in hessians]
    return Slope(torch.stack(slopes), torch.stack(traces))


@pytest.mark.parametrize("name", POINTS)
def test_one_pass_forwards_gives_what_hessians_give(name: str) -> None:
    energy = fresh("fully-connected-energy", dim=3, **POINTS[name])
    found, expected = exact_slope(energy, points()), by_hessians(energy, points())
    close(found, expected)
    close(gradient(energy, points()), expected.gradient)
    assert (expected.laplacian.abs() > 1e-6).any() != ("relu" in name or name == "leaky")


def test_any_other_energy_is_differentiated_again() -> None:
    energy = fresh("strided-energy", channels=1, size=8, filters=[2, 3])
    x = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(2))
    close(exact_slope(energy, x), by_hessians(energy, x))


@pytest.mark.parametrize("way", [exact_slope, forward_slope])
def test_losses_of_slopes_reach_points_and_weights(way: Any) -> None:
    """Against the general way, by the gradient of a number made of both parts."""
    energy = fresh("fully-connected-energy", dim=3, hidden=[8, 6])

    def learned(x: Tensor, slope: Slope) -> tuple[Tensor, ...]:
        loss = (slope.gradient.square().sum(dim=1) + slope.laplacian).sum()
        # The last bias shifts the energy and is in neither.
        weights = [p for name, p in energy.named_parameters() if name != "head.linear.bias"]
        return torch.autograd.grad(loss, [x, *weights])

    x = points().requires_grad_()
    found = learned(x, way(energy, x))
    # Wrapped, the network's class is hidden.
    close(found, learned(x, exact_slope(lambda items: energy(items), x)))


def test_signs_in_all_combinations_give_the_trace() -> None:
    """The mean over all 2^D equally likely probes is the expectation itself."""
    energy = fresh("fully-connected-energy", dim=3, hidden=[8, 6])
    signs = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * 3)
    probes = signs[:, None].expand(8, 7, 3)
    found, expected = estimated_slope(energy, points(), probes), exact_slope(energy, points())
    close(found, expected)
    one = estimated_slope(energy, points(), probes[:1])
    assert (one.laplacian - expected.laplacian).abs().max() > 1e-3


def test_no_graph_is_left_where_none_is_asked_for() -> None:
    energy = fresh("fully-connected-energy", dim=3, hidden=[8, 6])
    x = points()
    with torch.no_grad():
        for slope in (
            exact_slope(energy, x),
            estimated_slope(energy, x, torch.ones(2, 7, 3)),
        ):
            assert not slope.gradient.requires_grad and not slope.laplacian.requires_grad
        assert not gradient(energy, x).requires_grad
    assert not x.requires_grad and all(p.grad is None for p in energy.parameters())


def test_an_unknown_layer_is_refused() -> None:
    energy = fresh("fully-connected-energy", dim=3, hidden=[8, 6])
    energy.body.append(nn.Softplus())
    with pytest.raises(ValueError, match="Softplus"):
        forward_slope(energy, points())
