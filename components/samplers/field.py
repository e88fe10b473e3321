"""The energy and its gradient: what moves a chain."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Generic, TypeVar, cast

import torch
from torch import Tensor

State = Tensor | tuple[Tensor, ...]
S = TypeVar("S", bound=State)


class Field(Generic[S]):
    """The energy and its gradient, on states held as tuples.

    Args:
        energy: maps a state to N energies, where the one of row i depends on row i alone.
        is_tuple: whether the energy takes the tuple, or its only member.
        autocast: number format of the energy's evaluations, None for that of the state.
    """

    def __init__(self, energy: Callable[[S], Tensor], is_tuple: bool, autocast: str | None) -> None:
        self.energy = energy
        self.is_tuple = is_tuple
        self.autocast = autocast

    def pack(self, position: tuple[Tensor, ...]) -> S:
        """The state as the energy takes it."""
        return cast(S, position if self.is_tuple else position[0])

    def copy(self, position: tuple[Tensor, ...]) -> S:
        """A copy of the state as the energy takes it, detached."""
        return self.pack(tuple(part.detach().clone() for part in position))

    def __call__(self, position: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return the N energies and their gradients, both detached.

        Raises:
            ValueError: the energy's result is not N numbers.
        """
        leaves = tuple(part.detach().requires_grad_() for part in position)
        with torch.enable_grad():
            energies = self._energies(leaves)
            total = energies.sum()
        return energies.detach().float(), torch.autograd.grad(total, leaves)

    def differentiable(self, position: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Return the gradients as functions of the state and of the energy's parameters.

        Raises:
            ValueError: the energy's result is not N numbers.
        """
        with torch.enable_grad():
            inputs = tuple(
                part if part.requires_grad else part.detach().requires_grad_() for part in position
            )
            total = self._energies(inputs).sum()
            return torch.autograd.grad(total, inputs, create_graph=True)

    def _energies(self, position: tuple[Tensor, ...]) -> Tensor:
        precision: AbstractContextManager[object] = (
            torch.autocast(position[0].device.type, getattr(torch, self.autocast))
            if self.autocast
            else nullcontext()
        )
        with precision:
            energies = self.energy(self.pack(position))
        if energies.shape != position[0].shape[:1]:
            raise ValueError(f"an energy gives one number a row, not {tuple(energies.shape)}")
        return energies
