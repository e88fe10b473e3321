"""The tilt of a linear-Gaussian base by a quadratic energy: a Gaussian that is known."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from components.errors import UserError
from components.models.vae import VAE
from components.models.vaebm import VAEBM
from components.samplers.langevin import LangevinSettings

WEIGHT = torch.tensor([[1.0], [0.5]])
BIAS = torch.tensor([0.5, -1.0])
SIGMA = 0.5
TILT = torch.tensor([[1.5, 0.4], [0.4, 0.8]])
CENTRE = torch.tensor([-0.5, 1.0])


class Quadratic(nn.Module):
    """f(x) = ½ (x - m)ᵀ Λ (x - m)."""

    def __init__(self) -> None:
        super().__init__()
        self.matrix, self.centre = nn.Parameter(TILT.clone()), nn.Parameter(CENTRE.clone())

    def forward(self, x: Tensor) -> Tensor:
        deviation = x - self.centre
        return 0.5 * (deviation @ self.matrix * deviation).sum(1)


@pytest.fixture
def composition(linear_gaussian):
    def make(space: str) -> VAEBM:
        return VAEBM(linear_gaussian(WEIGHT, BIAS, SIGMA), Quadratic(), space)

    return make


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def tilted_law() -> tuple[Tensor, Tensor]:
    """Mean and covariance of (z, x) under p(z) p(x|z) exp(-f(x)).

    -log p is a quadratic of v = (z, x): its matrix is the precision, its gradient at 0 the rest.
    """
    tight = 1.0 / SIGMA**2
    precision = torch.zeros(3, 3)
    precision[0, 0] = 1.0 + tight * WEIGHT.square().sum()
    precision[0, 1:] = precision[1:, 0] = -tight * WEIGHT[:, 0]
    precision[1:, 1:] = tight * torch.eye(2) + TILT
    linear = torch.cat([-tight * (WEIGHT.T @ BIAS), tight * BIAS + TILT @ CENTRE])
    covariance = torch.linalg.inv(precision)
    return covariance @ linear, covariance


@pytest.mark.parametrize(("space", "step_size"), [("noise", 0.4), ("data", 0.15)])
def test_metropolis_chains_of_both_spaces_reach_the_tilted_law(composition, space, step_size):
    settings = LangevinSettings(120, step_size, metropolis=True)
    found = composition(space).sample(40_000, seeded(), settings)
    joint = torch.cat([found.noise, found.items], dim=1)
    mean, covariance = tilted_law()
    torch.testing.assert_close(joint.mean(0), mean, rtol=0.0, atol=0.015)
    torch.testing.assert_close(joint.T.cov(), covariance, rtol=0.03, atol=0.01)
    assert 0.5 < found.acceptance.mean() < 0.999


def test_the_tilted_law_itself(linear_gaussian):
    """The marginal of x: precision Σ⁻¹ + Λ, by another way than `tilted_law`."""
    base = linear_gaussian(WEIGHT, BIAS, SIGMA)
    mean, covariance = tilted_law()
    precision = torch.linalg.inv(base.covariance) + TILT
    torch.testing.assert_close(covariance[1:, 1:], torch.linalg.inv(precision))
    linear = torch.linalg.solve(base.covariance, BIAS) + TILT @ CENTRE
    torch.testing.assert_close(mean[1:], torch.linalg.solve(precision, linear))


def test_noise_potential_is_the_energy_and_half_the_squared_norm(composition):
    model = composition("noise")
    noise_z, noise_x = torch.randn(7, 1, generator=seeded()), torch.randn(7, 2, generator=seeded(1))
    x = noise_z @ WEIGHT.T + BIAS + SIGMA * noise_x
    expected = model.energy(x) + 0.5 * (noise_z.square().sum(1) + noise_x.square().sum(1))
    torch.testing.assert_close(model.noise_potential((noise_z, noise_x)), expected)


def test_noise_potential_of_images_has_no_pixel_noise():
    decoder = nn.Sequential(nn.Linear(2, 4), nn.Unflatten(1, (1, 2, 2)))
    energy = nn.Sequential(nn.Flatten(), nn.Linear(4, 1), nn.Flatten(0))
    model = VAEBM(VAE(nn.Identity(), decoder, 2, (1, 2, 2), "bernoulli"), energy)
    noise_z = torch.randn(5, 2, generator=seeded())
    expected = energy(torch.sigmoid(decoder(noise_z))) + 0.5 * noise_z.square().sum(1)
    torch.testing.assert_close(model.noise_potential(noise_z), expected)


def test_potentials_differ_by_the_constant_jacobian_of_transport(composition):
    """Eq. 4.27: |dx/dε_x| = σᴰ, and the normal law's constants are the rest."""
    model = composition("data")
    noise = torch.randn(9, 1, generator=seeded()), torch.randn(9, 2, generator=seeded(1))
    x = model.transport(noise)
    difference = model.data_potential((noise[0], x)) - model.noise_potential(noise)
    expected = 2.0 * math.log(SIGMA) + 1.5 * math.log(2.0 * math.pi)
    torch.testing.assert_close(difference, torch.full((9,), expected), rtol=0.0, atol=1e-5)


def test_data_potential_is_minus_the_joint_log_probability_and_the_energy(composition):
    model = composition("data")
    z, x = torch.randn(6, 1, generator=seeded()), torch.randn(6, 2, generator=seeded(1))
    log_z = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(1)
    log_x = torch.distributions.Normal(z @ WEIGHT.T + BIAS, SIGMA).log_prob(x).sum(1)
    expected = model.energy(x) - log_x - log_z
    torch.testing.assert_close(model.data_potential((z, x)), expected)


def test_log_prob_bound_is_the_bases_less_the_energy(composition):
    model = composition("noise")
    x = torch.randn(6, 2, generator=seeded())
    expected = model.base.law.log_prob(x) - model.energy(x)
    found = model.log_prob_bound(x, 3, seeded())
    torch.testing.assert_close(found, expected, rtol=0.0, atol=1e-4)
    assert not found.requires_grad


@pytest.mark.parametrize("space", ["noise", "data"])
@pytest.mark.parametrize("metropolis", [False, True])
def test_sampling_leaves_the_networks_as_they_are(composition, space, metropolis):
    model = composition(space).train()
    before = copy.deepcopy(model.state_dict())
    settings = LangevinSettings(3, 0.1, metropolis=metropolis)
    found = model.sample(8, seeded(), settings, keep=[0])
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert all(p.grad is None for p in model.parameters())
    assert all(p.requires_grad for p in model.energy.parameters())
    assert not any(p.requires_grad for p in model.base.parameters())
    assert not any(t.requires_grad for t in (found.items, found.noise, *found.along))


def test_base_stays_in_evaluation_mode():
    decoder = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    base = VAE(nn.Linear(3, 4), decoder, 2, (3,), "gaussian").train()
    model = VAEBM(base, nn.Sequential(nn.Linear(3, 1), nn.Flatten(0))).train()
    assert model.training and model.energy.training
    assert not any(module.training for module in base.modules())
    model.sample(16, seeded(), LangevinSettings(2, 0.1))
    assert decoder[1].num_batches_tracked == 0
    assert not model.eval().energy.training


@pytest.mark.parametrize("space", ["noise", "data"])
def test_chains_start_at_the_bases_samples(composition, space):
    model = composition(space)
    found = model.sample(20, seeded(), LangevinSettings(4, 0.1), keep=[4, 0, 2])
    start, middle, end = found.along
    torch.testing.assert_close(start, model.base.sample(20, seeded()))
    assert torch.equal(end, found.items)
    assert not torch.equal(start, middle) and not torch.equal(middle, end)


def test_chains_start_at_the_noise_that_is_given(composition):
    model = composition("noise")
    noise_z = torch.full((5, 1), 7.0)
    found = model.sample(5, seeded(), LangevinSettings(1, 1e-12), noise_z=noise_z)
    torch.testing.assert_close(found.noise, noise_z, rtol=0.0, atol=1e-4)
    # ε_x is drawn afresh all the same.
    assert (found.items - model.base.transport(noise_z)).std() > 0.1


def test_chains_over_pixels_need_a_continuous_likelihood():
    base = VAE(nn.Linear(3, 4), nn.Linear(2, 3), 2, (3,), "bernoulli")
    with pytest.raises(UserError, match="Gaussian"):
        VAEBM(base, nn.Linear(3, 1), "data")
