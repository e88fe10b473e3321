"""The unrolled sampler: the same chain, and derivatives against closed forms and differences."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.multiprocessing.reductions import StorageWeakRef

from components.errors import UserError
from components.networks.energy_conv import ConvEnergy
from components.samplers.langevin import LangevinSettings, langevin
from components.samplers.unrolled import unrolled
from tests.components.samplers.chains import gaussian_energy, normal, seeded

NOISY = LangevinSettings(4, 0.3, noise_scale=0.5, temperature=2.0)
FREE = LangevinSettings(4, 0.3, noise_scale=0.0)
FREE_THREE = LangevinSettings(3, 0.1, noise_scale=0.0)


def network(seed: int = 0) -> nn.Sequential:
    """Energies of points, float64."""
    torch.manual_seed(seed)
    layers = (nn.Linear(2, 5), nn.SiLU(), nn.Linear(5, 1), nn.Flatten(0))
    return nn.Sequential(*layers).double()


def gradients(energy: nn.Module, start: Tensor, checkpoint: bool) -> list[Tensor]:
    """x_K, and the derivatives of a function of it by x_0 and by all parameters."""
    start = start.clone().requires_grad_()
    parameters = list(energy.parameters())
    end = unrolled(energy, start, NOISY, seeded(), parameters if checkpoint else None)
    loss = (end.square() * torch.linspace(1.0, 2.0, end.numel()).view_as(end)).sum()
    # The last layer's bias moves no chain.
    by = torch.autograd.grad(loss, [start, *parameters], materialize_grads=True)
    return [end.detach(), *by]


@pytest.mark.parametrize("checkpoint", [False, True])
@pytest.mark.parametrize("settings", [NOISY, FREE])
def test_the_chain_is_that_of_the_plain_sampler(settings, checkpoint):
    start = normal(50, 2)
    before, generator, other = start.clone(), seeded(), seeded()
    given = () if checkpoint else None
    found = unrolled(gaussian_energy(0.7), start, settings, generator, given)
    plain = langevin(gaussian_energy(0.7), start, settings, other)
    torch.testing.assert_close(found.detach(), plain.state)
    assert torch.equal(generator.get_state(), other.get_state())
    assert torch.equal(start, before)


@pytest.mark.parametrize("checkpoint", [False, True])
def test_derivatives_of_a_contraction(checkpoint):
    """U = a(x - m)²/2: x_K = m + r^K (x_0 - m), r = 1 - ηa/2."""
    a = torch.tensor(1.5, dtype=torch.float64, requires_grad=True)
    m = torch.tensor(-0.4, dtype=torch.float64, requires_grad=True)
    x = normal(6, 1).double().requires_grad_()

    def energy(x: Tensor) -> Tensor:
        return (0.5 * a * (x - m).square()).sum(1)

    end = unrolled(energy, x, FREE, seeded(), (a, m) if checkpoint else None)
    eta, steps, away = FREE.step_size, FREE.steps, x.detach() - m.item()
    r = 1.0 - 0.5 * eta * a.item()
    torch.testing.assert_close(end.detach(), m.item() + r**steps * away)
    by_x, by_a, by_m = torch.autograd.grad(end.sum(), (x, a, m))
    torch.testing.assert_close(by_x, torch.full_like(x, r**steps))
    torch.testing.assert_close(by_a, (-0.5 * eta * steps * r ** (steps - 1) * away).sum())
    torch.testing.assert_close(by_m, torch.tensor(6.0 * (1.0 - r**steps), dtype=torch.float64))


@pytest.mark.parametrize("checkpoint", [False, True])
@pytest.mark.parametrize("settings", [NOISY, FREE])
def test_derivatives_are_those_of_finite_differences(settings, checkpoint):
    energy = network()
    names = [name for name, _ in energy.named_parameters()][:-1]

    def end(x: Tensor, *values: Tensor) -> Tensor:
        given = dict(zip(names, values, strict=True))
        return unrolled(
            lambda x: functional_call(energy, given, (x,)),
            x,
            settings,
            seeded(),
            values if checkpoint else None,
        )

    values = [energy.get_parameter(name).detach().clone().requires_grad_() for name in names]
    assert torch.autograd.gradcheck(end, (normal(3, 2).double().requires_grad_(), *values))


@pytest.mark.parametrize("normalisation", ["none", "weight"])
def test_steps_computed_again_give_the_same_derivatives(normalisation):
    torch.manual_seed(0)
    energy = ConvEnergy(1, 8, 3, [1, 2, 2], normalisation).double()
    # The head computes in float32, even of float64 features.
    energy.head.linear.float()
    start = normal(3, 1, 8, 8).double()
    kept, again = gradients(energy, start, False), gradients(energy, start, True)
    torch.testing.assert_close(again, kept, rtol=1e-12, atol=1e-14)
    assert all(g.abs().max() > 0.0 for g in kept[:4])


def test_steps_computed_again_are_not_kept():
    """Of the first layer's outputs all are alive after the chain, or none."""

    def alive(checkpoint: bool) -> tuple[int, int]:
        first, *rest = whole = network()
        parameters, seen = list(whole.parameters()), []

        def energy(x: Tensor) -> Tensor:
            hidden = first(x)
            seen.append(StorageWeakRef(hidden.untyped_storage()))
            for layer in rest:
                hidden = layer(hidden)
            return hidden

        given = parameters if checkpoint else None
        end = unrolled(energy, normal(3, 2).double(), FREE, seeded(), given)
        count = sum(not storage.expired() for storage in seen)
        end.sum().backward()
        return count, len(seen)

    assert alive(False) == (4, 4)
    assert alive(True) == (0, 8)


@pytest.mark.parametrize("checkpoint", [False, True])
def test_autocast_changes_the_energy_alone(checkpoint):
    layer = nn.Linear(2, 1)
    seen = []

    def energy(x: Tensor) -> Tensor:
        values = layer(x.sin())
        seen.append(values.dtype)
        return values.float().square().squeeze(1)

    settings = LangevinSettings(3, 0.1, noise_scale=0.0, autocast="bfloat16")
    given = list(layer.parameters()) if checkpoint else None
    end = unrolled(energy, normal(5, 2), settings, seeded(), given)
    exact = langevin(energy, normal(5, 2), FREE_THREE, seeded()).state
    end.sum().backward()
    assert set(seen[:3]) == {torch.bfloat16} and end.dtype == torch.float32
    assert not torch.equal(end.detach(), exact)
    torch.testing.assert_close(end.detach(), exact, rtol=0.0, atol=0.02)
    assert layer.weight.grad.dtype == torch.float32 and layer.weight.grad.abs().sum() > 0.0


def test_noise_is_a_constant_of_the_derivatives():
    x = normal(4, 2).requires_grad_()
    end = unrolled(gaussian_energy(1.0), x, NOISY, seeded())
    (slope,) = torch.autograd.grad(end.sum(), x)
    torch.testing.assert_close(slope, torch.full_like(x, (1.0 - 0.15) ** 4))
    quiet = (1.0 - 0.15) ** 4 * x.detach()
    assert (end.detach() - quiet).std() > 0.5 * math.sqrt(0.3)


@pytest.mark.parametrize("checkpoint", [None, ()])
def test_a_linear_energy_shifts(checkpoint):
    x = normal(4, 2).requires_grad_()
    end = unrolled(lambda x: 2.0 * x.sum(1), x, FREE, seeded(), checkpoint)
    torch.testing.assert_close(end.detach(), x.detach() - 4 * 0.3)
    (slope,) = torch.autograd.grad(end.sum(), x)
    assert torch.equal(slope, torch.ones(4, 2))


def test_a_parameter_that_is_not_learned_has_no_derivative():
    energy = network()
    energy[0].weight.requires_grad_(False)
    end = unrolled(energy, normal(3, 2).double(), FREE, seeded(), energy.parameters())
    end.sum().backward()
    assert energy[0].weight.grad is None and energy[2].weight.grad.abs().sum() > 0.0


def test_wrong_calls_are_refused():
    with pytest.raises(UserError, match="metropolis"):
        settings = LangevinSettings(2, 0.1, metropolis=True)
        unrolled(gaussian_energy(1.0), normal(5, 2), settings, seeded())
    with pytest.raises(ValueError, match="one number a row"):
        unrolled(torch.square, normal(5, 2), FREE, seeded())
