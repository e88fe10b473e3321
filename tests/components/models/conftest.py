"""A VAE whose law is known: probabilistic principal component analysis.

x = Wz + b + σε with orthogonal columns of W, so that the exact posterior is diagonal and linear in
x: an encoder can be it (Tipping and Bishop 1999).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from components.models.vae import VAE

WEIGHT = torch.tensor([[1.2, 0.3], [0.8, -0.6], [0.5, 0.24]])
BIAS = torch.tensor([0.5, -1.0, 2.0])
SIGMA = 0.6


class LinearGaussian(VAE):
    """A VAE with the law N(b, WWᵀ + σ²I) and the exact posterior, or one off by what is asked.

    Args:
        weight: W, D×L, with orthogonal columns.
        bias: b, D.
        sigma: σ.
        shift: added to the posterior's mean.
        log_variance_shift: added to its log-variance.
    """

    def __init__(
        self,
        weight: Tensor = WEIGHT,
        bias: Tensor = BIAS,
        sigma: float = SIGMA,
        shift: float = 0.0,
        log_variance_shift: float = 0.0,
    ) -> None:
        size, latent = weight.shape
        encoder, decoder = nn.Linear(size, 2 * latent), nn.Linear(latent, size)
        super().__init__(encoder, decoder, latent, (size,), "gaussian")
        self.weight_matrix, self.bias_vector, self.sigma_value = weight, bias, sigma
        self.variance = 1.0 / (1.0 + weight.square().sum(0) / sigma**2)
        gain = self.variance[:, None] * weight.T / sigma**2
        with torch.no_grad():
            decoder.weight.copy_(weight)
            decoder.bias.copy_(bias)
            encoder.weight.copy_(torch.cat([gain, torch.zeros_like(gain)]))
            encoder.bias[:latent] = -gain @ bias + shift
            encoder.bias[latent:] = self.variance.log() + log_variance_shift
            self.log_sigma.fill_(math.log(sigma))

    @property
    def covariance(self) -> Tensor:
        """Of x, D×D."""
        w = self.weight_matrix
        return w @ w.T + self.sigma_value**2 * torch.eye(len(w))

    @property
    def law(self) -> torch.distributions.MultivariateNormal:
        """Of x."""
        return torch.distributions.MultivariateNormal(self.bias_vector, self.covariance)


@pytest.fixture
def linear_gaussian() -> Callable[..., LinearGaussian]:
    return LinearGaussian


@pytest.fixture
def items() -> Tensor:
    """Points around the law's centre, some of them far out, 6×3."""
    return BIAS + 1.5 * torch.randn(6, 3, generator=torch.Generator().manual_seed(5))
