"""A normalising flow of latent vectors: the law that an auto-encoder's latents are given.

Dissertation 2.2.2 and 3.3; RealNVP, Dinh et al., https://arxiv.org/abs/1605.08803.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from components.errors import UserError
from components.models.vae import LOG_2PI
from components.networks.mlp import mlp


def log_standard_normal(z: Tensor) -> Tensor:
    """log p_0(z), nats, of N×L vectors under a standard normal law, N.

    >>> log_standard_normal(torch.zeros(1, 2)).item()  # -log 2π
    -1.8378770351409912
    """
    return -0.5 * (z.square() + LOG_2PI).sum(dim=1)


class AffineCoupling(nn.Module):
    """y = x ⊙ exp(s(c)) + t(c) for one part x of a vector, c being the other (section 2.2.2).

    One network gives both s and t. Its last layer starts at zero, and so the block at the identity.
    s = a ⊙ tanh(·) is bounded, so that no outlier's scale overflows; the bound a is learned, as
    the scale of an auto-encoder's latents is anyone's guess.

    Args:
        condition: size of c.
        altered: size of x.
        hidden: units of both hidden layers of the network; it has three fully connected layers.
    """

    def __init__(self, condition: int, altered: int, hidden: int) -> None:
        super().__init__()
        self.network = mlp(condition, [hidden, hidden], 2 * altered, "relu")
        for parameter in self.network[-1].parameters():
            nn.init.zeros_(parameter)
        self.bound = nn.Parameter(torch.ones(altered))

    def forward(self, x: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """Map x to y (N×altered) and log |det ∂y/∂x| (N, nats)."""
        shift, log_scale = self._affine(condition)
        return x * log_scale.exp() + shift, log_scale.sum(dim=1)

    def inverse(self, y: Tensor, condition: Tensor) -> Tensor:
        """Map y back to x, N×altered."""
        shift, log_scale = self._affine(condition)
        return (y - shift) * torch.exp(-log_scale)

    def _affine(self, condition: Tensor) -> tuple[Tensor, Tensor]:
        shift, raw = self.network(condition).chunk(2, dim=1)
        return shift, self.bound * torch.tanh(raw)


class LatentFlow(nn.Module):
    """f_η of Eq. 3.3: affine coupling blocks between latent vectors and standard normal noise.

    Blocks alter the second half of a vector given the first, and the first given the second, by
    turns. All is computed in the number format of the parameters (float32), even under autocast:
    with 8 significant bits the inverse would not be one.

    Args:
        latent: L, size of a latent vector, at least 2; an odd size has the larger half last.
        hidden: k, hidden units of each block's network; 64 and 256 in section 3.4.
        blocks: number of coupling blocks.

    Raises:
        UserError: a vector of one dimension has no halves; or no block at all.
    """

    def __init__(self, latent: int, hidden: int = 64, blocks: int = 4) -> None:
        super().__init__()
        if latent < 2 or blocks < 1:
            raise UserError(
                "a flow of affine couplings needs 2 latent dimensions or more, and a block: "
                f"not {latent} and {blocks}"
            )
        self.latent = latent
        self.sizes = (latent // 2, latent - latent // 2)
        self.blocks = nn.ModuleList(
            AffineCoupling(self.sizes[i % 2], self.sizes[1 - i % 2], hidden) for i in range(blocks)
        )

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Map latent vectors to noise.

        Args:
            z: latent vectors, N×L.

        Returns:
            f_η(z), N×L, and log |det ∂f_η/∂z|, nats, N.
        """
        with torch.autocast(z.device.type, enabled=False):
            first, second = self._halves(z)
            log_det = torch.zeros_like(first[:, 0])
            for i, block in enumerate(self.blocks):
                if i % 2:
                    first, added = block(first, second)
                else:
                    second, added = block(second, first)
                log_det = log_det + added
            return torch.cat([first, second], dim=1), log_det

    def inverse(self, noise: Tensor) -> Tensor:
        """Map noise back to latent vectors, both N×L."""
        with torch.autocast(noise.device.type, enabled=False):
            first, second = self._halves(noise)
            for i in reversed(range(len(self.blocks))):
                block: AffineCoupling = self.blocks[i]  # type: ignore[assignment]
                if i % 2:
                    first = block.inverse(first, second)
                else:
                    second = block.inverse(second, first)
            return torch.cat([first, second], dim=1)

    def log_prob(self, z: Tensor) -> Tensor:
        """log p_η(z), nats, N, of latent vectors N×L (Eq. 3.6 without its sign)."""
        noise, log_det = self(z)
        return log_standard_normal(noise) + log_det

    @torch.no_grad()
    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw latent vectors, count×L."""
        noise = torch.randn(count, self.latent, generator=generator, device=generator.device)
        return self.inverse(noise)

    def to_noise(self, z: Tensor) -> Tensor:
        """Map latent vectors to their noise, both N×L."""
        noise: Tensor = self(z)[0]
        return noise

    def from_noise(self, noise: Tensor) -> Tensor:
        """Map noise to latent vectors, both N×L."""
        return self.inverse(noise)

    def _halves(self, z: Tensor) -> tuple[Tensor, Tensor]:
        first, second = z.to(next(self.parameters()).dtype).split(self.sizes, dim=1)
        return first, second
