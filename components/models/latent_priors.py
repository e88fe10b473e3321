"""Laws of latent vectors beside the flow: standard normal, Gaussian mixture and a second VAE.

Each has `sample`; `log_prob` where the density is known; `to_noise` and `from_noise` where there is
a space of standard normal noise behind it, in which one may interpolate.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, TypeVar

import torch
from torch import Tensor, nn

from components.errors import UserError
from components.models.latent_flow import LatentFlow, log_standard_normal
from components.models.vae import LOG_2PI, VAE
from components.networks.mlp import mlp


class NormalPrior(nn.Module):
    """A standard normal law: its own noise.

    Args:
        latent: L, size of a latent vector.
    """

    def __init__(self, latent: int) -> None:
        super().__init__()
        self.latent = latent

    def log_prob(self, z: Tensor) -> Tensor:
        """log p(z), nats, N, of latent vectors N×L; float32 even under autocast."""
        return log_standard_normal(z.float())

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw latent vectors, count×L."""
        return torch.randn(count, self.latent, generator=generator, device=generator.device)

    def to_noise(self, z: Tensor) -> Tensor:
        """Return latent vectors, N×L, as they are."""
        return z

    def from_noise(self, noise: Tensor) -> Tensor:
        """Return noise, N×L, as it is."""
        return noise


class MixturePrior(nn.Module):
    """A mixture of Gaussians with full covariances, fitted elsewhere.

    The prior of RAE + GMM (Ghosh et al., https://arxiv.org/abs/1903.12436), with 10 components in
    section 3.4.4. Nothing here is learned by gradients. Before `fill`, all components are standard
    normal.

    Args:
        latent: L, size of a latent vector.
        components: K.

    Attributes:
        log_weights: logarithms of the components' probabilities, K.
        means: K×L.
        cholesky: lower triangular factors of the covariances, K×L×L.
    """

    log_weights: Tensor
    means: Tensor
    cholesky: Tensor

    def __init__(self, latent: int, components: int) -> None:
        super().__init__()
        self.latent = latent
        self.register_buffer("log_weights", torch.full((components,), 1.0 / components).log())
        self.register_buffer("means", torch.zeros(components, latent))
        self.register_buffer("cholesky", torch.eye(latent).repeat(components, 1, 1))

    @torch.no_grad()
    def fill(self, weights: Tensor, means: Tensor, covariances: Tensor) -> None:
        """Take over what was fitted.

        Args:
            weights: probabilities of the components, K; their sum is brought to one.
            means: K×L.
            covariances: K×L×L.

        Raises:
            UserError: shapes that do not fit, or a covariance that is not positive definite.
        """
        given = [tuple(x.shape) for x in (weights, means, covariances)]
        wanted = [tuple(x.shape) for x in (self.log_weights, self.means, self.cholesky)]
        if given != wanted:
            raise UserError(f"a mixture of shapes {wanted} cannot be filled with {given}")
        factors, failures = torch.linalg.cholesky_ex(covariances.double())
        if failures.any() or not factors.isfinite().all():
            raise UserError("a component of the mixture has no positive definite covariance")
        self.log_weights.copy_((weights.double() / weights.double().sum()).log())
        self.means.copy_(means)
        self.cholesky.copy_(factors)

    def log_prob(self, z: Tensor) -> Tensor:
        """log p(z), nats, N, of latent vectors N×L; float32 even under autocast."""
        with torch.autocast(z.device.type, enabled=False):
            away = (z.to(self.means.dtype) - self.means[:, None]).mT
            white = torch.linalg.solve_triangular(self.cholesky, away, upper=False)
            log_volumes = self.cholesky.diagonal(dim1=1, dim2=2).log().sum(dim=1)
            constants = self.log_weights - log_volumes
            terms = -0.5 * (white.square() + LOG_2PI).sum(dim=1) + constants[:, None]
            return terms.logsumexp(dim=0)

    @torch.no_grad()
    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw latent vectors, count×L."""
        chosen = torch.multinomial(
            self.log_weights.exp(), count, replacement=True, generator=generator
        )
        noise = torch.randn(
            count, self.latent, generator=generator, device=generator.device, dtype=self.means.dtype
        )
        with torch.autocast(noise.device.type, enabled=False):
            # Every component's vectors, of which one each is kept: K products of large matrices
            # take less time and memory than a gathered L×L factor for each vector.
            every = self.means[:, None] + noise @ self.cholesky.mT
        return every[chosen, torch.arange(count, device=chosen.device)]

    def to_noise(self, z: Tensor) -> NoReturn:
        """Raise `UserError`: which component a vector came from is lost."""
        raise UserError("a mixture has no space of noise: no map to it")

    def from_noise(self, noise: Tensor) -> NoReturn:
        """Raise `UserError`: a component must be drawn beside the noise."""
        raise UserError("a mixture has no space of noise: no map from it")


class LatentVAE(VAE):
    """The second VAE of a two-stage VAE: a VAE whose items are the first one's latent vectors.

    Dai and Wipf, https://arxiv.org/abs/1903.05789. u, standard normal, is its own latent vector and
    the noise behind z; the decoder's standard deviation is learned.

    Args:
        latent: L, size of the first model's latent vectors: this VAE's items.
        hidden: sizes of the hidden layers of encoder and decoder; [1024, 1024, 1024] in the paper.
        noise: size of u; None, as in the paper: L.
    """

    def __init__(self, latent: int, hidden: Sequence[int], noise: int | None = None) -> None:
        size = latent if noise is None else noise
        encoder = _Shortcut(latent, hidden, 2 * size)
        decoder = _Shortcut(size, hidden[::-1], latent)
        super().__init__(encoder, decoder, size, (latent,), "gaussian")

    def log_prob(self, z: Tensor) -> NoReturn:
        """Raise `UserError`: there are bounds alone, `bound` and `log_prob_bound`."""
        raise UserError("a VAE of latent vectors knows no density, but bounds of it")

    def to_noise(self, z: Tensor) -> Tensor:
        """Map latent vectors, N×L, to the mean of u given them."""
        return self.encode(z)[0]

    def from_noise(self, noise: Tensor) -> Tensor:
        """Map u to the mean of latent vectors given it, N×L."""
        return self.decode(noise)


class _Shortcut(nn.Module):
    """A fully connected network whose last layer sees the input too, float32 even under autocast.

    As in the code of Dai and Wipf: what is linear needs no way through the hidden layers.
    """

    def __init__(self, in_features: int, hidden: Sequence[int], out_features: int) -> None:
        super().__init__()
        if not hidden:
            raise UserError("a VAE of latent vectors needs a hidden layer")
        self.body = nn.Sequential(mlp(in_features, hidden[:-1], hidden[-1], "relu"), nn.ReLU())
        self.head = nn.Linear(hidden[-1] + in_features, out_features)

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            x = x.to(self.head.weight.dtype)
            out: Tensor = self.head(torch.cat([self.body(x), x], dim=1))
        return out


T = TypeVar("T")
LatentPrior = NormalPrior | LatentFlow | MixturePrior | LatentVAE


def from_settings(name: str, kind: Callable[..., T], latent: int, settings: Mapping[str, Any]) -> T:
    """Make a law of latent vectors from its class and plain settings.

    Args:
        name: what the user calls it.
        kind: the class.
        latent: L.
        settings: further arguments of the class.

    Raises:
        UserError: a setting is missing, unknown or out of range.
    """
    try:
        inspect.signature(kind).bind(latent, **settings)
    except TypeError as error:
        raise UserError(f"{name}: {error}") from None
    return kind(latent, **settings)


def build_prior(description: Mapping[str, Any], latent: int) -> LatentPrior | None:
    """Make a prior with fresh weights (from torch's global generator).

    Args:
        description: ``kind``: none, normal, flow, mixture or vae, and the settings of that class:
            `NormalPrior`, `LatentFlow`, `MixturePrior`, `LatentVAE`.
        latent: L.

    Returns:
        The prior; None for the kind ``none``: an auto-encoder whose latents have no law (yet).

    Raises:
        UserError: the kind is unknown, or a setting is missing, unknown or out of range.
    """
    settings = dict(description)
    kind = settings.pop("kind")
    if kind == "none":
        return None
    kinds: dict[str, Callable[..., LatentPrior]] = {
        "normal": NormalPrior,
        "flow": LatentFlow,
        "mixture": MixturePrior,
        "vae": LatentVAE,
    }
    if kind not in kinds:
        raise UserError(f"unknown prior {kind!r}; known: none, {', '.join(kinds)}")
    return from_settings(f"{kind} prior", kinds[kind], latent, settings)
