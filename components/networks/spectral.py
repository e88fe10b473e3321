"""The spectral penalty that keeps an energy from becoming too sharp.

Dissertation, appendix of chapter 4, "Training of energy function" (coefficient 0.2 there);
Yoshida and Miyato, https://arxiv.org/abs/1705.10941.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from components.networks.normalisation import weighted_layers

# Power iterations made at once, so that the first penalty is already near the truth.
_WARM_UP = 20


class SpectralRegulariser(nn.Module):
    """Σ σ(W) over the convolutions and fully connected layers of a network, differentiable.

    σ(W) is the largest singular value of the weight reshaped to (out, in·height·width): not that
    of the convolution as a map between images, which is at most √(height·width) times as large
    where the stride is 1. With weight normalisation W is the normalised weight, gain included.

    σ(W) = uᵀWv, where u and v come from power iteration that each call carries on by one step. They
    count as constants: the gradient uvᵀ is that of σ once they have converged. The v are buffers:
    save this module's state to resume exactly. The network is not part of that state.

    Args:
        network: whose layers are penalised, complete and with its weights initialised.
        generator: source of the first vectors, on the CPU.
    """

    def __init__(self, network: nn.Module, generator: torch.Generator) -> None:
        super().__init__()
        # A plain list: registering the layers here would save their weights a second time.
        self._layers = [layer for _, layer in weighted_layers(network)]
        for i, layer in enumerate(self._layers):
            weight = layer.weight.detach().flatten(1)
            v = torch.randn(weight.shape[1], generator=generator).to(weight.device)
            self.register_buffer(f"v{i}", F.normalize(v, dim=0))
            for _ in range(_WARM_UP):
                self._advance(i, weight)

    def forward(self) -> Tensor:
        """Advance every estimate by one power iteration and return their sum, a scalar ≥ 0."""
        norms = []
        for i, layer in enumerate(self._layers):
            weight = layer.weight.flatten(1)
            u, v = self._advance(i, weight.detach())
            norms.append(torch.dot(u, torch.mv(weight, v)))
        return torch.stack(norms).sum()

    @torch.no_grad()
    def _advance(self, i: int, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Do one power iteration on layer i; return the left and right singular vectors."""
        v = self.get_buffer(f"v{i}")
        u = F.normalize(torch.mv(weight, v), dim=0)
        v.copy_(F.normalize(torch.mv(weight.T, u), dim=0))
        return u, v
