"""Penalties that draw the latents of an auto-encoder to its prior, or hold them together.

Wasserstein auto-encoders (Tolstikhin et al., https://arxiv.org/abs/1711.01558) match the law of all
latents to the prior by a kernel (WAE-MMD) or by an adversary (WAE-GAN); the regularised
auto-encoder (Ghosh et al., https://arxiv.org/abs/1903.12436) keeps their norm small.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from components.networks.mlp import mlp

SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Of the kernel's width, as in the paper's experiments: the data choose which of them tells."""


def squared_norm(z: Tensor) -> Tensor:
    """Mean of ‖z‖² over latents N×L, a scalar.

    With the dissertation's γ = 0.5 (3.4.4) this is the ½‖z‖² of RAE at weight 1.

    >>> squared_norm(torch.tensor([[3.0, 4.0], [0.0, 1.0]]))
    tensor(13.)
    """
    return z.square().sum(dim=1).mean()


def kernel(x: Tensor, y: Tensor) -> Tensor:
    """Inverse multiquadratic kernel, summed over `SCALES`: Σ C / (C + ‖x − y‖²), C = 2Ls.

    2L is the expected squared distance of two draws from the standard normal prior.

    Args:
        x: N×L.
        y: M×L.

    Returns:
        N×M.
    """
    distances = (x.unsqueeze(1) - y.unsqueeze(0)).square().sum(dim=2)
    widths = 2.0 * x.shape[1] * distances.new_tensor(SCALES)
    return (widths / (widths + distances.unsqueeze(2))).sum(dim=2)


def mmd(z: Tensor, prior: Tensor) -> Tensor:
    """Unbiased estimate of the squared maximum mean discrepancy (Algorithm 2), a scalar.

    Args:
        z: latents, N×L, N at least 2.
        prior: as many draws from the prior.
    """
    count = len(z)
    within = kernel(z, z) + kernel(prior, prior)
    within = within.sum() - within.diagonal().sum()
    return within / (count * (count - 1)) - 2.0 * kernel(z, prior).mean()


class LatentDiscriminator(nn.Module):
    """Tells latents from draws of the prior (Algorithm 1).

    Args:
        latent: L, dimensions of z.
        hidden: units of each hidden layer.
    """

    def __init__(self, latent: int, hidden: list[int]) -> None:
        super().__init__()
        self.body = mlp(in_features=latent, hidden=hidden, out_features=1, nonlinearity="relu")

    def forward(self, z: Tensor) -> Tensor:
        """Map latents, N×L, to logits of being a draw from the prior, N."""
        logits: Tensor = self.body(z).squeeze(1)
        return logits.float()

    def loss(self, z: Tensor, prior: Tensor) -> Tensor:
        """Cross-entropy of telling them apart, 2 log 2 when it cannot; moves only itself.

        Args:
            z: latents, N×L; no gradient reaches them.
            prior: draws from the prior, N×L.
        """
        logits_prior, logits_z = self(torch.cat([prior, z.detach()])).chunk(2)
        return F.softplus(-logits_prior).mean() + F.softplus(logits_z).mean()

    def fooled(self, z: Tensor) -> Tensor:
        """−log D(z), which the encoder makes small; the discriminator's weights stay out of it."""
        weights = {name: value.detach() for name, value in self.named_parameters()}
        logits = torch.func.functional_call(self, weights, (z,))
        return F.softplus(-logits).mean()
