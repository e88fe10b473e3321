"""Neighbours are those of brute force, whatever the chunks."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from components.errors import UserError
from components.metrics import neighbours
from components.metrics.neighbours import nearest_neighbours


def images(count: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 1, 3, 3), generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize("chunk", [2, 7, 100])
def test_as_brute_force_finds_them(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "CHUNK", chunk)
    samples, train = images(5, 0), images(23, 1)
    found = nearest_neighbours(samples, train, 3)
    difference = samples[:, None].double() / 255 - train[None].double() / 255
    distances, indices = difference.flatten(2).norm(dim=2).sort(dim=1)
    assert torch.equal(found.indices, indices[:, :3])
    torch.testing.assert_close(found.distances.double(), distances[:, :3], atol=1e-6, rtol=1e-6)


def test_a_repeated_training_image_is_found_at_distance_nothing() -> None:
    train = images(50, 2)
    found = nearest_neighbours(train[[7, 31]], train, 1)
    assert found.indices.flatten().tolist() == [7, 31]
    assert found.distances.flatten().tolist() == [0.0, 0.0]


def test_distances_are_of_pixels_in_the_unit_range() -> None:
    black, white = torch.zeros(1, 1, 2, 2, dtype=torch.uint8), torch.full((1, 1, 2, 2), 255)
    assert nearest_neighbours(black, white.to(torch.uint8), 1).distances.item() == 2.0


def test_too_few_training_images_are_named() -> None:
    with pytest.raises(UserError, match=r"5 neighbours .* there are 4"):
        nearest_neighbours(images(1, 0), images(4, 1), 5)


def test_other_shapes_are_named() -> None:
    other = torch.zeros(9, 3, 3, 3, dtype=torch.uint8)
    with pytest.raises(UserError, match="not 1×3×3 and 3×3×3"):
        nearest_neighbours(images(1, 0), other, 1)
