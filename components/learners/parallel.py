"""Data-parallel learning by averaging gradients after backward.

One all-reduce of flat buckets between `backward` and the optimiser's step, instead of hooks inside
`backward`: GAN, R1, unrolled-sampler and Langevin steps need several and double backward passes.
Without a process group every function here leaves its input as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

T = TypeVar("T")
BUCKET_ELEMENTS = 8 * 1024 * 1024


def world_size() -> int:
    """Number of workers of this training, 1 without a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Number of this worker, 0 without a process group."""
    return dist.get_rank() if world_size() > 1 else 0


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


def of_first(make: Callable[[], T], device: torch.device) -> T:
    """What the first worker makes, on all workers; the others wait for it.

    Args:
        make: called on the first worker alone, so it must need no other worker; gives plain
            Python values.
        device: the learner's, on which the process group can pass it round.
    """
    if world_size() == 1:
        return make()
    passed = [make() if rank() == 0 else None]
    dist.broadcast_object_list(passed, src=0, device=device)
    return cast(T, passed[0])


def pooled_moments(mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance over the items of all workers, from those over each worker's own.

    Differentiable, more than once, with respect to every worker's own moments. The same to the bit
    on all workers. All of them have the same number of items.

    Args:
        mean: over this worker's items, any shape.
        variance: the same shape, without Bessel's correction.
    """
    if world_size() == 1:
        return mean, variance
    own = torch.stack([mean, variance])
    # One slot a worker, filled by it alone: their sum is everyone's moments in one exchange.
    slots = [own if number == rank() else torch.zeros_like(own) for number in range(world_size())]
    means, variances = sum_tensor(torch.stack(slots)).unbind(dim=1)
    mean = means.mean(dim=0)
    return mean, (variances + (means - mean).square()).mean(dim=0)


def sum_tensor(values: Tensor) -> Tensor:
    """Sum over the workers, differentiable more than once.

    Each worker's input reaches every worker's loss, so that the gradient is the sum of all workers'
    gradients.
    """
    total: Tensor = _Sum.apply(values)
    return total


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return sum_tensor(gradients[0])


def _average_bucket(bucket: list[Tensor]) -> None:
    flat = torch.cat([tensor.reshape(-1) for tensor in bucket])
    dist.all_reduce(flat)
    flat /= world_size()
    offset = 0
    for tensor in bucket:
        tensor.copy_(flat[offset : offset + tensor.numel()].view_as(tensor))
        offset += tensor.numel()
