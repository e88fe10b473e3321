"""What a call of the sampler promises: states kept, energies, gradients, refusals."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from components.errors import UserError
from components.samplers.frozen import frozen
from components.samplers.langevin import LangevinSettings, langevin
from tests.components.samplers.chains import (
    gaussian_energy,
    normal,
    seeded,
)


@pytest.mark.parametrize("metropolis", [False, True])
def test_kept_states_are_those_of_shorter_chains(metropolis):
    def run(steps: int, keep: tuple[int, ...] = ()):
        settings = LangevinSettings(steps, 0.3, metropolis=metropolis)
        return langevin(gaussian_energy(1.0), normal(50, 2), settings, seeded(), keep=keep)

    whole = run(6, keep=(6, 0, 2))
    for kept, expected in zip(whole.kept, [normal(50, 2), run(2).state, whole.state], strict=True):
        assert torch.equal(kept, expected)


def test_generator_decides_the_chain():
    def run(seed: int) -> Tensor:
        settings = LangevinSettings(5, 0.3, metropolis=True)
        return langevin(gaussian_energy(1.0), normal(50, 2), settings, seeded(seed)).state

    assert torch.equal(run(3), run(3))
    assert not torch.equal(run(3), run(4))


def test_memory_format_does_not_change_the_chain():
    def energy(x: Tensor) -> Tensor:
        return x.square().sum((1, 2, 3))

    def run(start: Tensor) -> Tensor:
        return langevin(energy, start, LangevinSettings(3, 0.1), seeded()).state

    x = normal(4, 3, 5, 5)
    assert torch.equal(run(x), run(x.to(memory_format=torch.channels_last)))


@pytest.mark.parametrize("metropolis", [False, True])
def test_energies_and_evaluations_are_as_documented(metropolis):
    calls = []

    def energy(x: Tensor) -> Tensor:
        calls.append(x)
        return gaussian_energy(1.0)(x)

    settings = LangevinSettings(7, 0.3, metropolis=metropolis)
    chain = langevin(energy, normal(50, 2), settings, seeded(), keep=[6])
    assert chain.nfe == len(calls) == (8 if metropolis else 7)
    seen = chain.state if metropolis else chain.kept[0]
    torch.testing.assert_close(chain.energies, gaussian_energy(1.0)(seen))


@pytest.mark.parametrize("metropolis", [False, True])
def test_no_gradient_is_left_behind(metropolis):
    network = nn.Sequential(nn.Linear(2, 8), nn.SiLU(), nn.Linear(8, 1), nn.Flatten(0))
    start = normal(5, 2).requires_grad_()
    before = start.detach().clone()
    settings = LangevinSettings(3, 0.3, metropolis=metropolis)
    with frozen(network), torch.no_grad():
        chain = langevin(network, start, settings, seeded(), keep=[1])
    for tensor in (chain.state, chain.kept[0], chain.energies):
        assert not tensor.requires_grad
    assert start.grad is None and torch.equal(start.detach(), before)
    assert all(p.grad is None and p.requires_grad for p in network.parameters())


@pytest.mark.parametrize("metropolis", [False, True])
def test_autocast_changes_the_energy_alone(metropolis):
    network = nn.Linear(2, 1)
    seen = []

    def energy(x: Tensor) -> Tensor:
        seen.append(network(x).dtype)
        return network(x).squeeze(1)

    def run(autocast):
        settings = LangevinSettings(3, 0.01, metropolis=metropolis, autocast=autocast)
        return langevin(energy, normal(5, 2), settings, seeded())

    rounded, exact = run("bfloat16"), run(None)
    assert set(seen) == {torch.bfloat16, torch.float32}
    assert rounded.state.dtype == rounded.energies.dtype == torch.float32
    torch.testing.assert_close(rounded.state, exact.state, rtol=0.0, atol=1e-3)
    assert not torch.equal(rounded.state, exact.state)


@pytest.mark.parametrize("metropolis", [False, True])
def test_a_broken_energy_is_seen(metropolis):
    def energy(x: Tensor) -> Tensor:
        return torch.where(x[:, 0] > 0.0, math.nan, 1.0) * x.square().sum(1)

    start = torch.tensor([[5.0], [-5.0]])
    settings = LangevinSettings(3, 0.01, metropolis=metropolis)
    chain = langevin(energy, start, settings, seeded())
    assert chain.energies.isnan().tolist() == [True, False]
    assert chain.state.isnan().flatten().tolist() == [True, False]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"steps": 0}, "steps must be 1 or more"),
        ({"step_size": 0.0}, "step size must be positive"),
        ({"step_size": math.nan}, "step size must be positive"),
        ({"noise_scale": -0.1}, "noise scale must be 0 or more"),
        ({"temperature": math.inf}, "temperature must be 0 or more"),
        ({"metropolis": True, "noise_scale": 0.0}, "needs noise"),
        ({"autocast": "float16"}, "must be bfloat16"),
    ],
)
def test_wrong_settings_are_refused(wrong, said):
    with pytest.raises(UserError, match=said):
        LangevinSettings(**{"steps": 1, "step_size": 0.1, **wrong})


def test_wrong_calls_are_refused():
    def run(energy, **arguments):
        langevin(energy, normal(5, 2), LangevinSettings(3, 0.1), seeded(), **arguments)

    with pytest.raises(UserError, match="steps 0 to 3"):
        run(gaussian_energy(1.0), keep=[4])
    with pytest.raises(UserError, match="3 positive numbers"):
        run(gaussian_energy(1.0), step_sizes=[0.1, 0.2])
    with pytest.raises(ValueError, match="one number a row"):
        run(torch.square)
