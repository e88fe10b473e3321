"""Data-parallel learning by averaging gradients after backward.

One all-reduce of flat buckets between `backward` and the optimiser's step, instead of hooks inside
`backward`: GAN, R1, unrolled-sampler and Langevin steps need several and double backward passes.
Without a process group every function here leaves its input as it is.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor, nn

BUCKET_ELEMENTS = 8 * 1024 * 1024


def world_size() -> int:
    """Number of workers of this training, 1 without a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace each gradient by its mean over the workers.

    Args:
        parameters: in the same order on all workers; those without a gradient count as zero, so
            that workers never wait for each other over different buckets.
    """
    if world_size() == 1:
        return
    gradients = []
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        gradients.append(parameter.grad)
    average_tensors(gradients)


def average_tensors(tensors: Iterable[Tensor]) -> None:
    """Replace each tensor, in place, by its mean over the workers (float32 on one device)."""
    if world_size() == 1:
        return
    bucket: list[Tensor] = []
    filled = 0
    for tensor in tensors:
        bucket.append(tensor)
        filled += tensor.numel()
        if filled >= BUCKET_ELEMENTS:
            _average_bucket(bucket)
            bucket, filled = [], 0
    if bucket:
        _average_bucket(bucket)


def broadcast_module(module: nn.Module) -> None:
    """Give all workers the parameters and buffers of the first."""
    if world_size() == 1:
        return
    for tensor in module.state_dict().values():
        dist.broadcast(tensor, src=0)


def _average_bucket(bucket: list[Tensor]) -> None:
    flat = torch.cat([tensor.reshape(-1) for tensor in bucket])
    dist.all_reduce(flat)
    flat /= world_size()
    offset = 0
    for tensor in bucket:
        tensor.copy_(flat[offset : offset + tensor.numel()].view_as(tensor))
        offset += tensor.numel()
