"""Shared by the tests of the learners: how to save, and how to compare what was saved."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
import torch

from components.datasets.loading import Batch
from components.learners.learner import Learner


def saved(state: Any) -> Any:
    """Write a state to a file and read it without unpickling code, as checkpoints do."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def leaves(state: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """The tensors and numbers of a state with their paths."""
    if isinstance(state, Mapping):
        for key, value in state.items():
            yield from leaves(value, f"{path}/{key}")
    elif isinstance(state, list | tuple):
        for i, value in enumerate(state):
            yield from leaves(value, f"{path}/{i}")
    else:
        yield path, state


def assert_same(found: Any, expected: Any) -> None:
    """Both states are the same to the bit."""
    found_leaves, expected_leaves = dict(leaves(found)), dict(leaves(expected))
    assert found_leaves.keys() == expected_leaves.keys()
    for path, value in expected_leaves.items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(found_leaves[path], value), path
        else:
            assert found_leaves[path] == value, path


@pytest.fixture
def assert_resumable() -> Callable[..., None]:
    """k steps, saved, and the rest by another learner are the same as all steps at once."""

    def check(
        make: Callable[[int], Learner], batches: list[Batch], stop: int, prepare: bool = True
    ) -> None:
        torch.manual_seed(0)
        whole, first, second = make(0), make(0), make(1)
        if prepare:
            whole.prepare(batches[0])
            first.prepare(batches[0])
        metrics = [whole.training_step(batch, step) for step, batch in enumerate(batches)]
        # Whatever else the process draws from PyTorch's own generator must not matter.
        torch.manual_seed(1)
        for step, batch in enumerate(batches[:stop]):
            first.training_step(batch, step)
        state = saved(first.state_dict())
        torch.manual_seed(2)
        second.load_state_dict(state)
        for step, batch in enumerate(batches[stop:], start=stop):
            assert_same(second.training_step(batch, step), metrics[step])
        assert_same(second.state_dict(), whole.state_dict())
        assert_same(second.exported().state_dict(), whole.exported().state_dict())

    return check
