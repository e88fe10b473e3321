"""Jets through layers: against autograd's own derivatives, and their backward passes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from components.networks.jets import affine, bend

LAYERS = [nn.SiLU(), nn.Tanh(), nn.ReLU(), nn.LeakyReLU(0.2)]


def jet(features: int = 4, dims: int = 2, count: int = 5) -> Tensor:
    """Float64, for differences; no value is near ReLU's kink."""
    generator = torch.Generator().manual_seed(0)
    found = 2.0 * torch.randn(dims + 2, count, features, generator=generator, dtype=torch.float64)
    found[0] += 0.1 * found[0].sign()
    return found.requires_grad_()


def weights(features: int = 4, size: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    weight, bias = (
        torch.randn(size, features + 1, generator=generator).double().split([features, 1], 1)
    )
    return weight.requires_grad_(), bias.squeeze(1).requires_grad_()


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: type(layer).__name__)
def test_a_bend_holds_the_derivatives_of_its_layer(layer: nn.Module) -> None:
    """φ' and φ'' by autograd, in the formulas for a tangent and a Laplacian."""
    given = jet()
    value = given[0].detach().requires_grad_()
    (slope,) = torch.autograd.grad(layer(value).sum(), value, create_graph=True)
    curvature = torch.zeros_like(value)
    if slope.requires_grad:
        (curvature,) = torch.autograd.grad(slope.sum(), value)
    first, second = given[1:-1], given[-1]
    laplacian = slope * second + curvature * first.square().sum(dim=0)
    expected = torch.cat([layer(value)[None], slope * first, laplacian[None]])
    torch.testing.assert_close(bend(given, layer), expected)
    torch.testing.assert_close(bend(given, layer, keep_value=False), expected[1:])


@pytest.mark.parametrize("keep_value", [True, False])
@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: type(layer).__name__)
def test_a_bends_backward_pass_is_its_derivative(
    layer: nn.Module, dims: int, keep_value: bool
) -> None:
    assert torch.autograd.gradcheck(lambda given: bend(given, layer, keep_value), jet(dims=dims))


@pytest.mark.parametrize("streams", [slice(None), slice(1)], ids=["jet", "value"])
def test_an_affine_layers_backward_pass_is_its_derivative(streams: slice) -> None:
    given = jet()[streams].detach().requires_grad_()
    assert torch.autograd.gradcheck(affine, (given, *weights()))
    weight, bias = weights()
    found = affine(given, weight, bias)
    torch.testing.assert_close(found[0], given[0] @ weight.T + bias)
    torch.testing.assert_close(found[1:], given[1:] @ weight.T)


def test_an_affine_layers_products_may_be_coarser_than_what_goes_in_and_out() -> None:
    given, (weight, bias) = jet(), weights()
    found = affine(given, weight, bias, torch.bfloat16)
    found.square().sum().backward()
    rounded = [tensor.detach().bfloat16().double() for tensor in (given, weight)]
    expected = rounded[0] @ rounded[1].T
    expected[0] += bias.detach()
    torch.testing.assert_close(found.detach(), expected, rtol=2**-7, atol=2**-6)
    for leaf in (given, weight, bias):
        assert leaf.grad is not None and leaf.grad.dtype == torch.float64
    torch.testing.assert_close(
        weight.grad, 2 * (expected.flatten(0, 1).T @ rounded[0].flatten(0, 1)), rtol=0.02, atol=0.3
    )


def test_what_is_frozen_gets_no_gradient() -> None:
    given, (weight, bias) = jet(), weights()
    affine(given, weight.detach(), bias).sum().backward()
    assert given.grad is not None and weight.grad is None
    torch.testing.assert_close(bias.grad, torch.full_like(bias, 5.0))


def test_a_second_derivative_is_refused() -> None:
    """Not silently wrong: what the backward pass computes has no graph."""
    given = jet()
    (once,) = torch.autograd.grad(bend(given, nn.SiLU()).square().sum(), given, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        once.sum().backward()


def test_far_out_nothing_overflows() -> None:
    """φ is the identity or nothing there, and its derivatives are those of a line."""
    given = torch.ones(4, 2, 1)
    given[0] = torch.tensor([[200.0], [-200.0]])
    expected = torch.tensor([[200.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]]).T.unsqueeze(2)
    torch.testing.assert_close(bend(given, nn.SiLU()), expected)


def test_an_unknown_layer_is_refused() -> None:
    with pytest.raises(ValueError, match="Softplus"):
        bend(jet(), nn.Softplus())
