"""Starts that lead to given items: linear generators, whose inverse is known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from components.errors import UserError
from components.samplers.inversion import invert
from tests.components.samplers.chains import normal

MATRIX = torch.tensor([[1.5, 0.4], [-0.3, 0.8]])


def generate(x: Tensor) -> Tensor:
    return x @ MATRIX.T


def test_the_start_of_a_linear_generator_is_found():
    wanted = normal(7, 2)
    found = invert(generate, generate(wanted), normal(7, 2, seed=2), 300, 0.1)
    torch.testing.assert_close(found.start, wanted, rtol=0.0, atol=1e-3)
    torch.testing.assert_close(found.result, generate(found.start))
    error = (found.result - generate(wanted)).square().mean(1)
    torch.testing.assert_close(found.error, error, rtol=1e-3, atol=1e-9)
    assert not any(part.requires_grad for part in found)


def test_items_do_not_depend_on_those_beside_them():
    target, start = normal(6, 2), normal(6, 2, seed=2)
    whole = invert(generate, target, start, 20, 0.1)
    single = invert(generate, target[2:3], start[2:3], 20, 0.1)
    torch.testing.assert_close(whole.start[2:3], single.start)


def test_the_best_of_all_steps_is_given():
    """The second item starts at its goal, from where Adam's steps can but lead away."""
    start = torch.tensor([[0.0, 0.0], [1.0, 2.0]])
    before = start.clone()
    goals = torch.tensor([[3.0, -3.0], [1.0, 2.0 + 1e-4]])
    found = invert(lambda x: x, goals, start, 2, 0.5)
    assert torch.equal(found.start[1], start[1]) and torch.equal(start, before)
    assert found.error[0] < 9.0 and found.error[1] < 1e-8


def test_parameters_gather_no_gradients():
    matrix = MATRIX.clone().requires_grad_()
    with torch.no_grad():
        found = invert(lambda x: x @ matrix, normal(3, 2), normal(3, 2, seed=2), 2, 0.1)
    assert matrix.grad is None and not found.result.requires_grad


@pytest.mark.parametrize(("steps", "rate"), [(0, 0.1), (3, 0.0), (3, torch.nan)])
def test_wrong_settings_are_refused(steps, rate):
    with pytest.raises(UserError, match="steps and a rate above 0"):
        invert(generate, normal(3, 2), normal(3, 2), steps, rate)
