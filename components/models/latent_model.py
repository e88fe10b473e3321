"""Auto-encoders and VAEs whose images come from a law of their latent vectors.

Dissertation, chapter 3: VAE, VAE with a flow prior (Eq. 3.4) or a flow posterior, generative latent
flow (Eq. 3.7) and its regularised form (Eq. 3.5), WAE, RAE + GMM and two-stage VAE are one model;
they differ in posterior, prior and learner.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from components.errors import UserError
from components.models.latent_flow import LatentFlow, log_standard_normal
from components.models.latent_priors import LatentPrior, from_settings
from components.models.vae import LOG_2PI

POSTERIORS = ("point", "gaussian", "flow")
# Decoder rows of one call in sampling: few enough for the caches and the memory of any machine.
ROWS = 512


class PosteriorSample(NamedTuple):
    """A draw from q(z|x) for each item.

    Attributes:
        z: latent vectors, N×L.
        log_q: log q(z|x), nats, N; None for a point.
        log_variance: log σ² of the Gaussian (of a flow posterior: of its base), N×L; None for a
            point.
    """

    z: Tensor
    log_q: Tensor | None
    log_variance: Tensor | None


def posterior_outputs(kind: str, latent: int) -> int:
    """Size of the encoder's output for a kind of posterior.

    Raises:
        UserError: an unknown kind.
    """
    if kind not in POSTERIORS:
        raise UserError(f"unknown posterior {kind!r}; known: {', '.join(POSTERIORS)}")
    return latent if kind == "point" else 2 * latent


def posterior_entropy(log_variance: Tensor) -> Tensor:
    """Entropy of a diagonal Gaussian, nats, N: Σ_j ½ (1 + log 2π + log σ_j²).

    Args:
        log_variance: log σ², N×L.
    """
    return 0.5 * (1.0 + LOG_2PI + log_variance).sum(dim=1)


def entropy_figure(log_variance: Tensor) -> Tensor:
    """What Figure 3.6 (b) of the dissertation calls entropy, N: -Σ_j log(σ_j) / 2.

    It rises as the variances fall, where the entropy (`posterior_entropy`) falls by twice as much:
    for comparison with the figure alone.

    Args:
        log_variance: log σ², N×L.
    """
    return -0.25 * log_variance.sum(dim=1)


class LatentModel(nn.Module):
    """An encoder and a decoder of images, a posterior and a prior of latent vectors.

    Args:
        encoder: maps images to `posterior_outputs`: N×L, or mean and log-variance side by side.
        decoder: maps z (N×L) to logits of images.
        latent: L, size of a latent vector.
        shape: (C, H, W) of images in [0, 1].
        posterior: ``{kind: point}``: z is the encoder's output, a deterministic auto-encoder;
            ``{kind: gaussian}``: diagonal Gaussian; ``{kind: flow, hidden, blocks}``: the same
            sent through a `LatentFlow` (Rezende and Mohamed, https://arxiv.org/abs/1505.05770).
        prior: law of the latent vectors; None: an auto-encoder that can but reconstruct.

    Attributes:
        posterior: the posterior's kind.
        posterior_flow: from the Gaussian's draws to z; None for other posteriors.

    Raises:
        UserError: items that are not images, an unknown posterior or a wrong setting of it.
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        latent: int,
        shape: tuple[int, ...],
        posterior: Mapping[str, Any],
        prior: LatentPrior | None,
    ) -> None:
        super().__init__()
        if len(shape) != 3:
            raise UserError(f"a latent model is one of images (C, H, W), not of items {shape}")
        settings = dict(posterior)
        self.posterior: str = settings.pop("kind")
        posterior_outputs(self.posterior, latent)
        if self.posterior != "flow" and settings:
            raise UserError(f"a {self.posterior} posterior has no setting {', '.join(settings)}")
        self.encoder, self.decoder, self.prior = encoder, decoder, prior
        self.latent, self.shape = latent, shape
        self.posterior_flow = (
            from_settings("flow posterior", LatentFlow, latent, settings)
            if self.posterior == "flow"
            else None
        )

    def moments(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Mean and log-variance of the Gaussian posterior, or of the base of a flow posterior.

        Args:
            x: images, float, N×C×H×W in [0, 1].

        Returns:
            Each N×L, float32 even under autocast; of a point there is no log-variance.
        """
        codes = self.encoder(x).float()
        if self.posterior == "point":
            return codes, None
        mean, log_variance = codes.chunk(2, dim=1)
        return mean, log_variance

    def encode(self, x: Tensor) -> Tensor:
        """Latent vectors without noise, N×L: the point, the mean, or the flow of the mean.

        Args:
            x: images, float, N×C×H×W in [0, 1].
        """
        mean, _ = self.moments(x)
        return mean if self.posterior_flow is None else self.posterior_flow.to_noise(mean)

    def posterior_sample(self, x: Tensor, generator: torch.Generator) -> PosteriorSample:
        """Draw z ~ q(z|x), reparameterised.

        For a flow g: z = g(z_0), log q(z|x) = log q_0(z_0|x) - log |det ∂g/∂z_0| (Eq. 2.25).

        Args:
            x: images, float, N×C×H×W in [0, 1].
            generator: source of the posterior's noise; a point takes none.
        """
        mean, log_variance = self.moments(x)
        if log_variance is None:
            return PosteriorSample(mean, None, None)
        noise = torch.empty_like(mean).normal_(generator=generator)
        z = mean + torch.exp(0.5 * log_variance) * noise
        log_q = log_standard_normal(noise) - 0.5 * log_variance.sum(dim=1)
        if self.posterior_flow is not None:
            z, log_det = self.posterior_flow(z)
            log_q = log_q - log_det
        return PosteriorSample(z, log_q, log_variance)

    def decode(self, z: Tensor) -> Tensor:
        """Images in [0, 1] of latent vectors (N×L), float32 even under autocast, N×C×H×W."""
        return torch.sigmoid(self.decoder(z).float())

    def reconstruct(self, x: Tensor) -> Tensor:
        """Images in [0, 1] from those (N×C×H×W in [0, 1]) by their latent vectors without noise."""
        return self.decode(self.encode(x))

    def log_prior(self, z: Tensor) -> Tensor:
        """log p(z), nats, N, of latent vectors N×L.

        Raises:
            UserError: there is no prior, or its density is not known.
        """
        return self._law().log_prob(z)

    @torch.no_grad()
    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw images in [0, 1], count×C×H×W, in calls of the decoder of bounded size.

        Raises:
            UserError: there is no prior.
        """
        latents = self._law().sample(count, generator)
        return torch.cat([self.decode(z) for z in latents.split(ROWS)])

    def _law(self) -> LatentPrior:
        if self.prior is None:
            raise UserError("this auto-encoder has no prior: fit one to its latents first")
        return self.prior
