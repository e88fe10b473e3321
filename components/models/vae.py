"""Variational auto-encoder: the base whose samples a composition repairs.

Dissertation 2.1.2 and 4.4.1; Kingma and Welling, https://arxiv.org/abs/1312.6114.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LOG_2PI = math.log(2.0 * math.pi)
Likelihood = Literal["bernoulli", "gaussian"]


class Bound(NamedTuple):
    """The parts of the evidence lower bound, nats per item, each N."""

    elbo: Tensor
    log_likelihood: Tensor
    kl: Tensor


class VAE(nn.Module):
    """Encoder and decoder with a standard normal prior.

    Args:
        encoder: maps items to N×2L, mean and log-variance of q(z|x) side by side.
        decoder: maps z (N×L) to an item's shape: logits for a Bernoulli likelihood, the mean for a
            Gaussian one.
        latent: L, dimensions of z.
        shape: of an item: (C, H, W) of images in [0, 1], or (D,) of points.
        likelihood: ``bernoulli``: cross-entropy, on grey values in [0, 1] as in the dissertation;
            ``gaussian``: one learned standard deviation for all dimensions.

    Attributes:
        log_sigma: logarithm of the Gaussian decoder's standard deviation, a scalar.
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        latent: int,
        shape: tuple[int, ...],
        likelihood: Likelihood,
    ) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self.latent, self.shape, self.likelihood = latent, shape, likelihood
        self.log_sigma = nn.Parameter(torch.zeros(()), requires_grad=likelihood == "gaussian")

    @property
    def noisy(self) -> bool:
        """Whether x given z has noise that can be reparameterised (ε_x of Eq. 4.18)."""
        return self.likelihood == "gaussian"

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of q(z|x), each N×L."""
        mean, log_variance = self.encoder(x).float().chunk(2, dim=1)
        return mean, log_variance

    def decode(self, z: Tensor) -> Tensor:
        """The decoder's output for z (N×L), float32 even under autocast, N×shape."""
        decoded: Tensor = self.decoder(z).float()
        return decoded

    def log_likelihood(self, x: Tensor, decoded: Tensor) -> Tensor:
        """log p(x|z), nats, N.

        Args:
            x: items, N×shape.
            decoded: the decoder's output for their z.
        """
        if self.likelihood == "bernoulli":
            terms = -F.binary_cross_entropy_with_logits(decoded, x, reduction="none")
        else:
            deviation = (x - decoded) * torch.exp(-self.log_sigma)
            terms = -0.5 * (deviation.square() + LOG_2PI) - self.log_sigma
        return terms.flatten(1).sum(dim=1)

    def bound(self, x: Tensor, generator: torch.Generator, beta: float = 1.0) -> Bound:
        """One-sample estimate of the (β-weighted) evidence lower bound.

        log p(x|z) - β KL(q(z|x) ‖ p(z)), z ~ q(z|x) reparameterised; the KL in closed form.

        Args:
            x: items, N×shape.
            generator: source of the posterior's noise.
            beta: weight of the KL, https://openreview.net/forum?id=Sy2fzU9gl.
        """
        mean, log_variance = self.encode(x)
        noise = torch.empty_like(mean).normal_(generator=generator)
        z = mean + torch.exp(0.5 * log_variance) * noise
        log_likelihood = self.log_likelihood(x, self.decode(z))
        kl = 0.5 * (mean.square() + log_variance.exp() - 1.0 - log_variance).sum(dim=1)
        return Bound(log_likelihood - beta * kl, log_likelihood, kl)

    @torch.no_grad()
    def log_prob_bound(
        self, x: Tensor, samples: int, generator: torch.Generator, rows: int = 8192
    ) -> Tensor:
        """Importance-weighted lower bound of log p(x), nats, N.

        log 1/K Σ p(x, z_k) / q(z_k|x), z_k ~ q(z|x): the ELBO's one-sample estimate for K = 1,
        tight as K grows. Burda et al., https://arxiv.org/abs/1509.00519.

        Args:
            x: items, N×shape.
            samples: K.
            generator: source of the posterior's noise.
            rows: decoder rows of one call: few enough for the cache of a CPU.
        """
        mean, log_variance = self.encode(x)
        at_once = max(1, rows // len(x))
        total = torch.full((len(x),), -torch.inf, device=x.device)
        for first in range(0, samples, at_once):
            count = min(at_once, samples - first)
            weights = self._log_weights(x, mean, log_variance, count, generator)
            total = torch.logaddexp(total, weights.logsumexp(dim=0))
        return total - math.log(samples)

    def transport(self, noise_z: Tensor, noise_x: Tensor | None = None) -> Tensor:
        """T of Eq. 4.18: items from standard normal noise.

        Args:
            noise_z: ε_z, N×L; equal to z, the prior being standard normal.
            noise_x: ε_x, N×shape, for a Gaussian likelihood; None leaves it out (the mean).

        Returns:
            Items, N×shape. A Bernoulli likelihood has no continuous noise: its mean in [0, 1].
        """
        decoded = self.decode(noise_z)
        if not self.noisy:
            return torch.sigmoid(decoded)
        return decoded if noise_x is None else decoded + torch.exp(self.log_sigma) * noise_x

    @torch.no_grad()
    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Items from the prior, count×shape."""
        device = self.log_sigma.device
        noise_z = torch.randn(count, self.latent, generator=generator, device=device)
        if not self.noisy:
            return self.transport(noise_z)
        noise_x = torch.randn(count, *self.shape, generator=generator, device=device)
        return self.transport(noise_z, noise_x)

    def _log_weights(
        self,
        x: Tensor,
        mean: Tensor,
        log_variance: Tensor,
        count: int,
        generator: torch.Generator,
    ) -> Tensor:
        """log p(x, z_k) - log q(z_k|x) for `count` draws, count×N."""
        noise = torch.randn(count, *mean.shape, generator=generator, device=x.device)
        z = mean + torch.exp(0.5 * log_variance) * noise
        decoded = self.decode(z.flatten(0, 1))
        repeated = x.expand(count, *x.shape).flatten(0, 1)
        log_likelihood = self.log_likelihood(repeated, decoded).view(count, len(x))
        log_prior = -0.5 * (z.square() + LOG_2PI).sum(dim=2)
        log_posterior = -0.5 * (noise.square() + LOG_2PI + log_variance).sum(dim=2)
        return log_likelihood + log_prior - log_posterior
