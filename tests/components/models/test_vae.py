"""The VAE's bounds against a linear-Gaussian model, whose likelihood is known in closed form."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor, nn

from components.models.vae import VAE


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def divergence_of_posterior(shift: float, log_variance_shift: float, variance: Tensor) -> Tensor:
    """KL(q ‖ p(z|x)) of diagonal Gaussians, q being off by the two shifts."""
    ratio = math.exp(log_variance_shift)
    return 0.5 * (ratio - 1.0 - log_variance_shift + shift**2 / variance).sum()


class Constant(nn.Module):
    """Gives the same row, whatever comes in."""

    def __init__(self, row: Tensor) -> None:
        super().__init__()
        self.row = row

    def forward(self, x: Tensor) -> Tensor:
        return self.row.expand(len(x), *self.row.shape)


@pytest.mark.parametrize(("shift", "log_variance_shift"), [(0.0, 0.0), (0.3, -0.5), (-0.2, 0.4)])
def test_elbo_is_the_likelihood_less_the_posteriors_divergence(
    linear_gaussian, items, shift, log_variance_shift
):
    model = linear_gaussian(shift=shift, log_variance_shift=log_variance_shift)
    draws = 40_000
    with torch.no_grad():
        elbo = model.bound(items.repeat(draws, 1), seeded()).elbo.view(draws, len(items)).double()
    gap = divergence_of_posterior(shift, log_variance_shift, model.variance)
    error = elbo.std(0).max().item() / draws**0.5
    torch.testing.assert_close(
        elbo.mean(0), model.law.log_prob(items).double() - gap, rtol=0.0, atol=5.0 * error
    )
    assert error < 0.01


def test_bound_is_reparameterised(linear_gaussian, items):
    """The gradient of the ELBO with respect to q is that of its closed form, -KL(q ‖ p(z|x))."""
    shift, log_variance_shift = 0.3, -0.5
    model = linear_gaussian(shift=shift, log_variance_shift=log_variance_shift)
    model.bound(items.repeat(20_000, 1), seeded()).elbo.mean().backward()
    by_mean = -shift / model.variance
    by_log_variance = torch.full((2,), -0.5 * (math.exp(log_variance_shift) - 1.0))
    torch.testing.assert_close(
        model.encoder.bias.grad, torch.cat([by_mean, by_log_variance]), rtol=0.02, atol=0.01
    )


def test_importance_weights_of_the_exact_posterior_are_the_likelihood(linear_gaussian, items):
    model = linear_gaussian()
    # 24 rows: chunks of 4 samples, the last of 2.
    for samples, rows in ((1, 8192), (10, 8192), (10, 24), (10, 1)):
        torch.testing.assert_close(
            model.log_prob_bound(items, samples, seeded(), rows),
            model.law.log_prob(items),
            rtol=0.0,
            atol=2e-4,
        )


def test_importance_weighted_bound_rises_from_elbo_to_likelihood(linear_gaussian, items):
    shift, log_variance_shift = 0.3, 0.4
    model = linear_gaussian(shift=shift, log_variance_shift=log_variance_shift)
    likelihood = model.law.log_prob(items).mean().item()
    elbo = likelihood - divergence_of_posterior(shift, log_variance_shift, model.variance).item()
    many = items.repeat(10_000, 1)
    bounds = [model.log_prob_bound(many, k, seeded(k)).mean().item() for k in (1, 2, 4, 8)]
    assert bounds[0] == pytest.approx(elbo, abs=0.02)
    assert all(low + 0.01 < high for low, high in itertools.pairwise(bounds))
    assert bounds[-1] < likelihood
    tight = model.log_prob_bound(items.repeat(20, 1), 5_000, seeded()).mean().item()
    assert bounds[-1] < tight == pytest.approx(likelihood, abs=0.01)


def test_bernoulli_likelihood_by_hand():
    logits = torch.tensor([[[math.log(3.0), 0.0], [-math.log(4.0), 30.0]]])
    model = VAE(Constant(torch.zeros(2)), Constant(logits), 1, (1, 2, 2), "bernoulli")
    x = torch.tensor([[[[1.0, 0.25], [0.5, 1.0]]], [[[0.0, 1.0], [0.0, 0.0]]]])
    expected = [
        math.log(0.75) + math.log(0.5) + 0.5 * math.log(0.2) + 0.5 * math.log(0.8),
        math.log(0.25) + math.log(0.5) + math.log(0.8) - 30.0,
    ]
    found = model.log_likelihood(x, model.decode(torch.zeros(2, 1)))
    torch.testing.assert_close(found, torch.tensor(expected))


def test_gaussian_likelihood_sums_over_dimensions(linear_gaussian, items):
    decoded = torch.flip(items, [0])
    found = linear_gaussian(sigma=0.3).log_likelihood(items, decoded)
    expected = torch.distributions.Normal(decoded, 0.3).log_prob(items).sum(1)
    torch.testing.assert_close(found, expected)


def test_kl_by_hand_and_its_weight():
    # q = N(1, 4) in the first dimension, N(-0.5, 1) in the second.
    code = torch.tensor([1.0, -0.5, math.log(4.0), 0.0])
    model = VAE(Constant(code), Constant(torch.zeros(3)), 2, (3,), "gaussian")
    x = torch.ones(4, 3)
    bound = model.bound(x, seeded(), beta=3.0)
    kl = 0.5 * (1.0 + 4.0 - 1.0 - math.log(4.0)) + 0.5 * 0.25
    torch.testing.assert_close(bound.kl, torch.full((4,), kl))
    torch.testing.assert_close(bound.elbo, bound.log_likelihood - 3.0 * bound.kl)
    log_normal = -1.5 * (1.0 + math.log(2.0 * math.pi))
    torch.testing.assert_close(bound.log_likelihood, torch.full((4,), log_normal))
    torch.testing.assert_close(model.bound(x, seeded()).elbo, torch.full((4,), log_normal - kl))


def test_samples_have_the_models_moments(linear_gaussian):
    model = linear_gaussian()
    x = model.sample(200_000, seeded())
    torch.testing.assert_close(x.mean(0), model.bias_vector, rtol=0.0, atol=0.02)
    torch.testing.assert_close(x.T.cov(), model.covariance, rtol=0.02, atol=0.02)
    assert torch.equal(x[:5], model.sample(200_000, seeded())[:5])
    assert not torch.equal(x[:5], model.sample(200_000, seeded(1))[:5])


def test_transport_of_a_gaussian_decoder_is_affine_in_its_noise(linear_gaussian):
    model = linear_gaussian()
    noise_z, noise_x = torch.randn(4, 2, generator=seeded()), torch.randn(4, 3, generator=seeded(1))
    mean = noise_z @ model.weight_matrix.T + model.bias_vector
    torch.testing.assert_close(model.transport(noise_z), mean)
    torch.testing.assert_close(
        model.transport(noise_z, noise_x), mean + model.sigma_value * noise_x
    )


def test_bernoulli_samples_are_means_without_noise():
    decoder = nn.Linear(2, 3)
    model = VAE(nn.Linear(3, 4), decoder, 2, (3,), "bernoulli")
    noise_z = torch.randn(5, 2, generator=seeded())
    expected = torch.sigmoid(decoder(noise_z))
    torch.testing.assert_close(model.transport(noise_z), expected)
    torch.testing.assert_close(model.sample(5, seeded()), expected)
    # A standard deviation that no likelihood uses must not be learned, nor decayed.
    assert not model.log_sigma.requires_grad
