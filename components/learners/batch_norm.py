"""Batch normalisation by the statistics of the whole batch, whatever the number of workers.

Of PyTorch's own, `SyncBatchNorm` runs on GPUs alone and `BatchNorm2d` sees but a worker's share.
Batch normalisation: Ioffe and Szegedy, https://arxiv.org/abs/1502.03167.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from components.learners.parallel import pooled_moments, world_size


class SharedBatchNorm(_BatchNorm):
    """Batch normalisation over the items of all workers, differentiable more than once.

    In evaluation mode, and on one worker, the same as PyTorch's to the bit; its parameters and
    buffers have the same names, so that an exported model's weights fit the plain layer.

    Args:
        plain: the layer whose place this one takes; parameters and buffers become shared.
    """

    def __init__(self, plain: _BatchNorm) -> None:
        super().__init__(
            plain.num_features,
            plain.eps,
            plain.momentum,
            plain.affine,
            plain.track_running_stats,
        )
        self._parameters, self._buffers = plain._parameters, plain._buffers
        self.training = plain.training

    def forward(self, x: Tensor) -> Tensor:
        """Normalise N×C or N×C×...; float32 inside, the type of x outside."""
        if not self.training or world_size() == 1:
            return super().forward(x)
        values = x.float()
        dims = [dim for dim in range(x.dim()) if dim != 1]
        variance, mean = torch.var_mean(values, dims, correction=0)
        mean, variance = pooled_moments(mean, variance)
        self._remember(mean.detach(), variance.detach(), x.numel() // x.shape[1] * world_size())
        shape = (1, -1, *[1] * (x.dim() - 2))
        scale = torch.rsqrt(variance + self.eps)
        if not self.affine:
            return ((values - mean.view(shape)) * scale.view(shape)).to(x.dtype)
        scale, shift = (scale * self.weight).view(shape), self.bias.view(shape)
        return torch.addcmul(shift, values - mean.view(shape), scale).to(x.dtype)

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"expected at least 2 dimensions, not {input.dim()}")

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor, count: int) -> None:
        """Move the running statistics towards those of a batch of so many values a channel."""
        if self.running_mean is None or self.running_var is None:
            return
        assert self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        share = self.momentum
        if share is None:
            share = 1.0 / self.num_batches_tracked.item()
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance * (count / max(1, count - 1)), share)


def share_batch_norms(network: nn.Module) -> None:
    """Let the network's batch norms see the batch of all workers, in place.

    Nothing is changed on one worker.

    Args:
        network: no batch norm itself, but whatever has some.
    """
    if world_size() == 1:
        return
    for name, child in network.named_children():
        if isinstance(child, _BatchNorm):
            setattr(network, name, SharedBatchNorm(child))
        else:
            share_batch_norms(child)
