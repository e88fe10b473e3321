"""How the workers of a training reach each other."""

from __future__ import annotations

from ray.train.backend import Backend
from ray.train.torch import TorchConfig

from pipelines.runtime.settings import Runtime


class LoneConfig(TorchConfig):
    """No process group: one worker has nobody to talk to.

    A group of one would open a store that listens on all addresses of the machine, and asks nobody
    who they are.
    """

    @property
    def backend_cls(self) -> type[Backend]:
        return Backend


def backend_of(runtime: Runtime) -> TorchConfig:
    """NCCL between GPUs, gloo between CPUs, nothing for a single worker."""
    if runtime.num_workers == 1:
        return LoneConfig()
    return TorchConfig(backend="nccl" if runtime.gpu else "gloo")
