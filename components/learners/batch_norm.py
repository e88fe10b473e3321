"""Batch normalisation by the statistics of the whole batch, whatever the number of workers.

Of PyTorch's own, `SyncBatchNorm` runs on GPUs alone and `BatchNorm2d` sees but a worker's share.
Batch normalisation: Ioffe and Szegedy, https://arxiv.org/abs/1502.03167.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from components.learners.parallel import pooled_moments, sum_tensor, world_size


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
        weight: Tensor = (
            self.weight if self.affine else torch.ones(self.num_features, device=x.device)
        )
        bias: Tensor = self.bias if self.affine else torch.zeros_like(weight)
        normalised, mean, variance = _Normalisation.apply(x, weight, bias, self.eps)
        self._remember(mean, variance, _count(x))
        out: Tensor = normalised
        return out

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


class _Normalisation(torch.autograd.Function):
    """Batch normalisation over all workers by PyTorch's fused kernels.

    Written in single tensor operations it takes ten times as long, and more, on a CPU: that form
    serves the second derivative alone.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        mean, variance = torch.batch_norm_update_stats(x, None, None, 0.0)
        mean, variance = pooled_moments(mean.float(), variance.float())
        ctx.save_for_backward(x, weight, bias, mean, variance)
        ctx.mark_non_differentiable(mean, variance)
        ctx.eps = eps
        return F.batch_norm(x, mean, variance, weight, bias, eps=eps), mean, variance

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, mean, variance = ctx.saved_tensors
        if torch.is_grad_enabled():
            normalised = _normalised_step_by_step(x, weight, bias, ctx.eps)
            inputs = (x, weight, bias)
            wanted = [value for value in inputs if value.requires_grad]
            found = iter(torch.autograd.grad(normalised, wanted, gradients[0], create_graph=True))
            by_x, by_weight, by_bias = (
                next(found) if value.requires_grad else None for value in inputs
            )
            return by_x, by_weight, by_bias, None
        by_x, by_weight, by_bias = torch.ops.aten.native_batch_norm_backward(
            *(gradients[0], x, weight, mean, variance, None, None),
            *(False, ctx.eps, [True, True, True]),
        )
        # So far mean and variance counted as constants; what they pass on is, in each channel,
        # an affine function of x, so that the same kernel makes it.
        shares = sum_tensor(torch.stack([by_weight, by_bias])) / _count(x)
        slope, shift = shares * (weight * torch.rsqrt(variance + ctx.eps))
        by_moments = F.batch_norm(x, mean, variance, slope, shift, eps=ctx.eps)
        return by_x.sub_(by_moments), by_weight, by_bias, None


def _normalised_step_by_step(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    values = x.float()
    dims = [dim for dim in range(x.dim()) if dim != 1]
    variance, mean = torch.var_mean(values, dims, correction=0)
    mean, variance = pooled_moments(mean, variance)
    shape = (1, -1, *[1] * (x.dim() - 2))
    scale = (torch.rsqrt(variance + eps) * weight).view(shape)
    return torch.addcmul(bias.view(shape), values - mean.view(shape), scale).to(x.dtype)


def _count(x: Tensor) -> int:
    """Values of a channel on all workers together."""
    return x.numel() // x.shape[1] * world_size()


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
