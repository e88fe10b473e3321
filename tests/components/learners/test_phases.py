"""What both learners of energies share: the two phases, what is told of them, and the guard."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from components.datasets.loading import Batch
from components.learners.computing import Computing
from components.learners.phases import follow, phase_energies, phase_metrics, run_away
from components.networks.energy_conv import StridedEnergy

CPU = Computing(torch.device("cpu"))


def images(count: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 1, 8, 8), generator=generator).byte()


def guarded() -> StridedEnergy:
    torch.manual_seed(0)
    return StridedEnergy(1, 8, [4, 4], guard=0.5)


def test_energies_of_both_phases_are_those_without_the_guard():
    energy = guarded()
    data, negative = images(5, 0) / 255.0, images(3, 1) / 255.0
    found = phase_energies(energy, data, negative, CPU)
    torch.testing.assert_close(list(found), [energy.learned(data), energy.learned(negative)])
    assert not torch.allclose(found[0], energy(data))
    rounded = phase_energies(energy, data, negative, replace(CPU, precision="bfloat16"))
    assert not torch.equal(rounded[0], found[0])
    torch.testing.assert_close(rounded, found, rtol=0.05, atol=0.05)


def test_metrics_are_of_the_phases_means():
    data = torch.tensor([1.0, 3.0], requires_grad=True)
    negative = torch.tensor([4.0, 8.0, 9.0])
    metrics = phase_metrics(2.0 * data.sum(), data, negative)
    assert {name: value.item() for name, value in metrics.items()} == {
        "loss": 8.0, "energy_gap": 5.0, "energy_data": 2.0, "energy_chain": 7.0,
    }  # fmt: skip
    assert not any(value.requires_grad for value in metrics.values())


def test_a_gap_runs_away_on_both_sides():
    assert run_away({"energy_gap": 9.9}, 10.0) is None and run_away({}, 10.0) is None
    for gap in (10.1, -10.1):
        assert run_away({"energy_gap": gap}, 10.0) == f"energy gap {gap} beyond 10 nats"


def test_a_guard_follows_stored_images():
    energy, batch = guarded(), Batch(images(6, 0), None)
    follow(energy, batch, CPU)
    features = energy.features(batch.x / 255.0)
    assert energy.guard is not None
    torch.testing.assert_close(energy.guard.mean, features.mean(0).detach())
