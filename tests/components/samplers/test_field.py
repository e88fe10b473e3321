"""Gradients that go on: second derivatives against closed forms."""

from __future__ import annotations

import torch
from torch import Tensor

from components.samplers.field import Field
from tests.components.samplers.chains import normal


def test_differentiable_gradients_are_functions_of_state_and_parameters():
    """U = c x⁴/4: ∇U = c x³, whose derivatives are 3 c x² and x³."""
    c, x = torch.tensor(2.0, requires_grad=True), normal(5, 1).requires_grad_()
    field: Field[Tensor] = Field(lambda x: (c * x.pow(4) / 4.0).sum(1), False, None)
    with torch.no_grad():
        (gradient,) = field.differentiable((x,))
    torch.testing.assert_close(gradient, c * x**3)
    by_x, by_c = torch.autograd.grad(gradient.sum(), (x, c))
    torch.testing.assert_close(by_x, 3.0 * c.detach() * x.detach() ** 2)
    torch.testing.assert_close(by_c, x.detach().pow(3).sum())


def test_a_state_without_a_gradient_is_not_made_to_have_one():
    c, x = torch.tensor(2.0, requires_grad=True), normal(5, 1)
    field: Field[Tensor] = Field(lambda x: (c * x.square()).sum(1), False, None)
    (gradient,) = field.differentiable((x,))
    assert not x.requires_grad
    torch.testing.assert_close(torch.autograd.grad(gradient.sum(), c)[0], 2.0 * x.sum())


def test_tuples_are_differentiated_together():
    """U = x y²: its gradient is (y², 2 x y)."""
    x, y = normal(5, 1), normal(5, 1, seed=2)
    field: Field[tuple[Tensor, ...]] = Field(lambda s: (s[0] * s[1] ** 2).sum(1), True, None)
    for found in (field((x, y))[1], field.differentiable((x, y))):
        torch.testing.assert_close([g.detach() for g in found], [y**2, 2.0 * x * y])
