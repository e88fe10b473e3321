"""The latent model: its posteriors, its samples, and its way through files."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor

from components.errors import UserError
from components.models.build import build_model, seeded
from components.models.export import export_model, load_model
from components.models.latent_model import (
    ROWS,
    LatentModel,
    entropy_figure,
    posterior_entropy,
    posterior_outputs,
)

INFOGAN = {"kind": "infogan", "width": 4, "hidden": 16}
DCGAN = {"kind": "dcgan", "width": 4, "depth": 1}
POINT, GAUSSIAN = {"kind": "point"}, {"kind": "gaussian"}
FLOW = {"kind": "flow", "hidden": 8, "blocks": 4}
NORMAL, MIXTURE = {"kind": "normal"}, {"kind": "mixture", "components": 3}
VAE = {"kind": "vae", "hidden": [8]}


def describe(posterior=POINT, prior=FLOW, network=INFOGAN, **others):
    return {
        "kind": "latent",
        "shape": [1, 8, 8],
        "latent": 3,
        "network": network,
        "posterior": posterior,
        "prior": prior,
        **others,
    }


DESCRIPTIONS = {
    "vae": describe(GAUSSIAN, NORMAL),
    "vae of dcgan": describe(GAUSSIAN, NORMAL, DCGAN),
    "vae + flow prior": describe(GAUSSIAN, FLOW),
    "vae + flow posterior": describe(FLOW, NORMAL),
    "glf": describe(POINT, FLOW),
    "rae + gmm": describe(POINT, MIXTURE),
    "two-stage vae": describe(GAUSSIAN, VAE),
    "auto-encoder": describe(POINT, {"kind": "none"}, shape=[3, 8, 8]),
}


def source(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(count: int, channels: int = 1) -> Tensor:
    return torch.rand(count, channels, 8, 8, generator=source(9))


def make(**parts) -> LatentModel:
    """A model in evaluation mode, its flows away from the identity at which they start."""
    model = seeded(describe(**parts), 1)
    assert isinstance(model, LatentModel)
    generator = source(2)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "flow" in name or "prior" in name:
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


@pytest.mark.parametrize("name", DESCRIPTIONS)
def test_an_exported_model_comes_back(tmp_path, name):
    description = DESCRIPTIONS[name]
    before = copy.deepcopy(description)
    model = seeded(description, 1)
    with torch.no_grad():
        for value in model.state_dict().values():
            if value.is_floating_point():
                value.add_(0.1 * torch.rand(value.shape, generator=source(4)))
    export_model(tmp_path, description, model.state_dict(), {})
    assert description == before
    loaded = load_model(tmp_path)
    x = images(4, description["shape"][0])
    assert torch.equal(loaded.reconstruct(x), model.eval().reconstruct(x))
    assert not torch.equal(loaded.reconstruct(x), seeded(description, 1).eval().reconstruct(x))
    drawn = [m.posterior_sample(x, source()).z for m in (model, loaded)]
    assert torch.equal(*drawn)
    if model.prior is not None:
        assert torch.equal(loaded.sample(4, source()), model.sample(4, source()))


def test_point_is_the_encoders_output():
    model = make()
    x = images(5)
    drawn = model.posterior_sample(x, source())
    assert torch.equal(drawn.z, model.encoder(x)) and torch.equal(drawn.z, model.encode(x))
    assert drawn.log_q is None and drawn.log_variance is None


def test_gaussian_draws_and_their_density():
    model = make(posterior=GAUSSIAN)
    x = images(1)
    mean, log_variance = model.encoder(x).chunk(2, dim=1)
    assert torch.equal(model.encode(x), mean)
    law = torch.distributions.Normal(mean[0], torch.exp(0.5 * log_variance[0]))
    drawn = model.posterior_sample(x.expand(20_000, -1, -1, -1), source())
    torch.testing.assert_close(drawn.log_q, law.log_prob(drawn.z).sum(1), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(drawn.z.mean(0), law.mean, rtol=0.0, atol=0.05)
    torch.testing.assert_close(drawn.z.std(0), law.stddev, rtol=0.03, atol=0.0)
    torch.testing.assert_close(drawn.log_variance[:1], log_variance, rtol=1e-4, atol=1e-4)


def test_flow_posterior_changes_variables():
    """log q(z|x) against the base density at g⁻¹(z) and autograd's Jacobian of g there."""
    model = make(posterior=FLOW, prior=NORMAL)
    x = images(6)
    drawn = model.posterior_sample(x, source())
    flow, (mean, log_variance) = model.posterior_flow, model.moments(x)
    base = flow.inverse(drawn.z)
    jacobians = torch.func.vmap(torch.func.jacrev(lambda one: flow(one[None])[0][0]))(base)
    law = torch.distributions.Normal(mean, torch.exp(0.5 * log_variance))
    expected = law.log_prob(base).sum(1) - torch.linalg.slogdet(jacobians)[1]
    torch.testing.assert_close(drawn.log_q, expected, rtol=1e-3, atol=1e-3)
    assert (drawn.log_q - law.log_prob(base).sum(1)).abs().min() > 1e-3
    torch.testing.assert_close(model.encode(x), flow(mean)[0])
    assert torch.equal(drawn.log_variance, log_variance)


@pytest.mark.parametrize("posterior", [GAUSSIAN, FLOW])
def test_draws_are_reparameterised_and_of_the_generator(posterior):
    model = make(posterior=posterior)
    x = images(4)
    first, again, other = (model.posterior_sample(x, source(s)).z for s in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)
    first.square().sum().backward()
    gradient = model.encoder.body[-1].weight.grad
    assert gradient[:3].any() and gradient[3:].any()


def test_images_are_sigmoids_of_logits_in_float32():
    model = make()
    z = torch.randn(5, 3, generator=source())
    torch.testing.assert_close(model.decode(z), torch.sigmoid(model.decoder(z)))
    x = images(5)
    torch.testing.assert_close(model.reconstruct(x), model.decode(model.encoder(x)))
    with torch.autocast("cpu", torch.bfloat16):
        drawn = model.posterior_sample(x, source())
        assert model.decode(drawn.z).dtype == drawn.z.dtype == torch.float32
        assert model.log_prior(drawn.z).dtype == torch.float32


@pytest.mark.parametrize("prior", [NORMAL, FLOW, MIXTURE, VAE])
def test_samples_are_decoded_draws_of_the_prior(prior):
    model = make(prior=prior)
    count = ROWS + 3
    expected = model.decode(model.prior.sample(count, source()))
    found = model.sample(count, source())
    torch.testing.assert_close(found, expected)
    assert found.shape == (count, 1, 8, 8)
    assert not found.requires_grad and expected.requires_grad


def test_log_prior_is_of_the_prior():
    model = make(prior=FLOW)
    z = torch.randn(5, 3, generator=source())
    assert torch.equal(model.log_prior(z), model.prior.log_prob(z))


def test_without_a_prior_there_are_no_samples():
    model = make(prior={"kind": "none"})
    for action in (
        lambda: model.sample(1, source()),
        lambda: model.log_prior(torch.zeros(1, 3)),
    ):
        with pytest.raises(UserError, match="no prior: fit one"):
            action()


def test_a_prior_can_be_put_on_a_trained_auto_encoder():
    """compose: the weights of the auto-encoder are those of the composition without its prior."""
    base = make(prior={"kind": "none"})
    composed = make(prior=FLOW)
    own = {name for name in composed.state_dict() if name.startswith("prior.")}
    assert own and set(composed.state_dict()) - own == set(base.state_dict())


def test_entropies_by_hand():
    log_variance = torch.tensor([[0.0, 0.0], [math.log(4.0), math.log(0.25)], [-2.0, -4.0]])
    scale = torch.exp(0.5 * log_variance)
    exact = torch.distributions.Normal(torch.zeros(3, 2), scale).entropy().sum(1)
    torch.testing.assert_close(posterior_entropy(log_variance), exact)
    torch.testing.assert_close(entropy_figure(log_variance), -scale.log().sum(1) / 2.0)
    assert entropy_figure(log_variance).tolist() == pytest.approx([0.0, 0.0, 1.5])


def test_encoder_is_as_wide_as_its_posterior():
    assert [posterior_outputs(kind, 5) for kind in ("point", "gaussian", "flow")] == [5, 10, 10]


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"posterior": {"kind": "cauchy"}}, "'cauchy'; known: point, gaussian, flow"),
        ({"posterior": {"kind": "point", "hidden": 3}}, "point posterior has no setting hidden"),
        ({"posterior": {"kind": "flow", "colour": 3}}, "flow posterior.*colour"),
        ({"network": {"kind": "mlp"}}, "network 'mlp' of a latent model; known: infogan, dcgan"),
        ({"network": {"kind": "infogan", "depth": 2}}, "infogan-encoder: .*depth"),
        ({"shape": [2]}, r"not of items of shape \(2,\)"),
        ({"shape": [1, 8, 12]}, r"not of items of shape \(1, 8, 12\)"),
        ({"prior": {"kind": "gan"}}, "unknown prior 'gan'"),
        ({"prior": FLOW, "latent": 1}, "not 1 and 4"),
    ],
)
def test_wrong_descriptions_are_refused(parts, message):
    with pytest.raises(UserError, match=message) as caught:
        build_model(describe(**parts))
    assert "\n" not in str(caught.value)
