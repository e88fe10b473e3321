"""Laws of latent vectors against those of scikit-learn and closed forms."""

from __future__ import annotations

import itertools

import pytest
import torch
from sklearn.mixture import GaussianMixture
from torch import Tensor

from components.errors import UserError
from components.models.latent_flow import LatentFlow
from components.models.latent_priors import (
    LatentVAE,
    MixturePrior,
    NormalPrior,
    build_prior,
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def tensor(array) -> Tensor:
    return torch.as_tensor(array).float()


@pytest.fixture
def fitted() -> tuple[GaussianMixture, MixturePrior]:
    """scikit-learn's mixture of correlated clouds, and ours filled with it."""
    spread = torch.tensor([[1.0, 0.8, 0.0], [0.0, 0.5, 0.4], [0.0, 0.0, 0.3]])
    clouds = torch.randn(600, 3, generator=seeded()) @ spread
    clouds[:200] += torch.tensor([3.0, -2.0, 1.0])
    law = GaussianMixture(3, random_state=0).fit(clouds.double().numpy())
    prior = MixturePrior(3, 3)
    prior.fill(*(tensor(x) for x in (law.weights_, law.means_, law.covariances_)))
    return law, prior


@pytest.fixture
def linear() -> tuple[LatentVAE, torch.distributions.MultivariateNormal]:
    """A second VAE that has learned to use its shortcuts alone, with its exact posterior.

    z = W u + b + σ ε with orthogonal columns of W (as in conftest): its law beside it.
    """
    weight = torch.tensor([[1.2, 0.3], [0.8, -0.6], [0.5, 0.24]])
    bias, sigma = torch.tensor([0.5, -1.0, 2.0]), torch.tensor(0.6)
    variance = 1.0 / (1.0 + weight.square().sum(0) / sigma**2)
    gain = variance[:, None] * weight.T / sigma**2
    model = LatentVAE(3, [8], noise=2)
    with torch.no_grad():
        for head in (model.encoder.head, model.decoder.head):
            head.weight.zero_()
        model.encoder.head.weight[:2, 8:] = gain
        model.encoder.head.bias.copy_(torch.cat([-gain @ bias, variance.log()]))
        model.decoder.head.weight[:, 8:] = weight
        model.decoder.head.bias.copy_(bias)
        model.log_sigma.copy_(sigma.log())
    covariance = weight @ weight.T + sigma**2 * torch.eye(3)
    return model, torch.distributions.MultivariateNormal(bias, covariance)


def test_normal_is_the_standard_normal_and_its_own_noise():
    prior = NormalPrior(4)
    z = torch.randn(6, 4, generator=seeded())
    expected = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(1)
    torch.testing.assert_close(prior.log_prob(z), expected)
    assert torch.equal(prior.sample(6, seeded()), z)
    assert torch.equal(prior.to_noise(z), z) and torch.equal(prior.from_noise(z), z)


def test_mixture_has_the_density_of_scikit_learn(fitted):
    law, prior = fitted
    z = 3.0 * torch.randn(200, 3, generator=seeded(1))
    expected = tensor(law.score_samples(z.double().numpy()))
    torch.testing.assert_close(prior.log_prob(z), expected, rtol=1e-4, atol=1e-4)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(prior.log_prob(z), expected, rtol=1e-4, atol=1e-4)


def test_mixture_samples_have_its_moments(fitted):
    law, prior = fitted
    z = prior.sample(200_000, seeded())
    weights, means, covariances = map(tensor, (law.weights_, law.means_, law.covariances_))
    mean = weights @ means
    second = covariances + means[:, :, None] * means[:, None, :]
    covariance = (weights[:, None, None] * second).sum(0) - mean[:, None] * mean
    torch.testing.assert_close(z.mean(0), mean, rtol=0.02, atol=0.02)
    torch.testing.assert_close(z.T.cov(), covariance, rtol=0.02, atol=0.03)
    # Moments do not see a component's noise lent to another: the mean density does.
    expected = tensor(law.score_samples(law.sample(50_000)[0])).mean()
    torch.testing.assert_close(prior.log_prob(z).mean(), expected, rtol=0.0, atol=0.03)
    assert torch.equal(z, prior.sample(200_000, seeded()))


def test_mixture_draws_components_by_their_weights():
    prior = MixturePrior(1, 3)
    weights = torch.tensor([0.2, 0.0, 0.6])
    prior.fill(weights, torch.tensor([[-9.0], [0.0], [9.0]]), torch.ones(3, 1, 1))
    z = prior.sample(20_000, seeded())[:, 0]
    assert (z > 0.0).float().mean().item() == pytest.approx(0.75, abs=0.02)
    assert (z.abs() > 3.0).all()
    assert prior.log_prob(torch.zeros(1, 1)).isfinite().all()


def test_mixture_refuses_what_is_none():
    prior = MixturePrior(2, 3)
    weights, means, covariances = (
        torch.full((3,), 1 / 3),
        torch.zeros(3, 2),
        torch.eye(2).expand(3, 2, 2),
    )
    with pytest.raises(UserError, match=r"cannot be filled with \[\(2,\)"):
        prior.fill(weights[:2], means, covariances)
    for wrong in (-covariances, covariances * torch.nan):
        with pytest.raises(UserError, match="positive definite"):
            prior.fill(weights, means, wrong)
    for action in (prior.to_noise, prior.from_noise):
        with pytest.raises(UserError, match="no space of noise"):
            action(means)


def test_mixture_is_not_learned_by_gradients(fitted):
    _, prior = fitted
    assert not list(prior.parameters())
    assert set(prior.state_dict()) == {"log_weights", "means", "cholesky"}


def test_second_vae_bounds_its_likelihood(linear):
    """The posterior is exact: the ELBO's mean and every importance weight is the likelihood."""
    model, law = linear
    z = law.sample((6,))
    torch.testing.assert_close(
        model.log_prob_bound(z, 5, seeded()), law.log_prob(z), rtol=0.0, atol=2e-4
    )
    draws = 40_000
    with torch.no_grad():
        elbo = model.bound(z.repeat(draws, 1), seeded()).elbo.view(draws, 6)
    error = (elbo.std(0).max() / draws**0.5).item()
    assert error < 0.02
    torch.testing.assert_close(elbo.mean(0), law.log_prob(z), rtol=0.0, atol=5.0 * error + 1e-4)


def test_second_vae_bound_is_below_its_importance_bound():
    torch.manual_seed(0)
    model = LatentVAE(4, [16, 8])
    z = 2.0 * torch.randn(20, 4, generator=seeded())
    bounds = [model.log_prob_bound(z.repeat(200, 1), k, seeded()).mean().item() for k in (1, 8, 64)]
    with torch.no_grad():
        elbo = model.bound(z.repeat(200, 1), seeded()).elbo.mean().item()
    assert elbo == pytest.approx(bounds[0], abs=0.05)
    assert all(low < high for low, high in itertools.pairwise(bounds))


def test_second_vae_samples_its_law(linear):
    model, law = linear
    z = model.sample(200_000, seeded())
    torch.testing.assert_close(z.mean(0), law.mean, rtol=0.0, atol=0.02)
    torch.testing.assert_close(z.T.cov(), law.covariance_matrix, rtol=0.02, atol=0.02)


def test_second_vae_noise_is_the_mean_both_ways(linear):
    model, law = linear
    z, noise = law.sample((5,)), torch.randn(5, 2, generator=seeded())
    weight, bias = model.decoder.head.weight[:, 8:], model.decoder.head.bias
    torch.testing.assert_close(model.from_noise(noise), noise @ weight.T + bias)
    precision = torch.eye(2) + weight.T @ weight / 0.36
    expected = torch.linalg.solve(precision, weight.T @ (z - bias).T / 0.36).T
    torch.testing.assert_close(model.to_noise(z), expected, rtol=1e-4, atol=1e-4)
    with pytest.raises(UserError, match="knows no density"):
        model.log_prob(z)


def test_second_vae_learns_its_own_noise_and_hidden_layers():
    model = LatentVAE(4, [16, 8])
    model.bound(torch.randn(32, 4, generator=seeded()), seeded()).elbo.mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.any(), name
    with torch.autocast("cpu", torch.bfloat16):
        assert model.encoder(torch.zeros(2, 4)).dtype == torch.float32
    with pytest.raises(UserError, match="needs a hidden layer"):
        LatentVAE(4, [])


def test_second_vae_decoder_mirrors_its_encoder():
    model = LatentVAE(5, [16, 8], noise=3)
    shapes = [
        [tuple(m.weight.shape) for m in network.modules() if isinstance(m, torch.nn.Linear)]
        for network in (model.encoder, model.decoder)
    ]
    # Heads see the input beside the last hidden layer, and the encoder's gives two numbers each.
    assert shapes[0] == [(16, 5), (8, 16), (6, 8 + 5)]
    assert shapes[1] == [(8, 3), (16, 8), (5, 16 + 3)]


def test_priors_are_of_their_descriptions():
    assert build_prior({"kind": "none"}, 4) is None
    assert isinstance(build_prior({"kind": "normal"}, 4), NormalPrior)
    flow = build_prior({"kind": "flow", "hidden": 8, "blocks": 3}, 4)
    assert isinstance(flow, LatentFlow) and len(flow.blocks) == 3
    mixture = build_prior({"kind": "mixture", "components": 5}, 4)
    assert isinstance(mixture, MixturePrior) and mixture.means.shape == (5, 4)
    vae = build_prior({"kind": "vae", "hidden": [8]}, 4)
    assert isinstance(vae, LatentVAE) and vae.shape == (4,) and vae.latent == 4


def test_wrong_descriptions_are_refused_by_name():
    with pytest.raises(UserError, match="'gan'; known: none, normal, flow, mixture, vae"):
        build_prior({"kind": "gan"}, 4)
    with pytest.raises(UserError, match="mixture prior: missing a required argument: 'components'"):
        build_prior({"kind": "mixture"}, 4)
    with pytest.raises(UserError, match=r"normal prior: .*'hidden'"):
        build_prior({"kind": "normal", "hidden": 4}, 4)
