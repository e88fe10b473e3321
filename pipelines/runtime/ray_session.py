"""The Ray cluster that a stage's process joins or starts."""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

from components.errors import UserError
from pipelines.runtime.settings import Runtime

# Most of these take seconds off the start of a training (README, "Start-up"). The timeout is how
# long Ray waits for CPUs that it takes to be free, before it looks again what nodes there are.
RAY_ENVIRONMENT = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.1",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_TRAIN_V2_ENABLED": "1",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "20",
    "RAY_USAGE_STATS_ENABLED": "0",
    # By default Ray's workers give way to every other process: a tenth slower on two cores.
    "RAY_worker_niceness": "0",
    "OMP_WAIT_POLICY": "PASSIVE",
}


def attach(runtime: Runtime) -> None:
    """Join the running cluster if there is one, else start one that only this machine reaches."""
    import ray
    from ray._private import ray_constants, services

    if ray.is_initialized():
        return
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    address: Any = runtime.ray_address  # Ray's annotations forbid None, which it takes
    if address != "local" and services.canonicalize_bootstrap_address(address) is not None:
        try:
            ray.init(address=address, **quiet)
        except ConnectionError:
            raise UserError(
                f"no Ray cluster answers at {address or 'the address that Ray knows'}: start it, "
                "or set runtime.ray_address to local"
            ) from None
        return
    # By default all that Ray starts listens on all addresses of the machine. This switch, which is
    # there for other systems, has it listen on 127.0.0.1; it was read when ray was imported.
    os.environ[ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR] = "0"
    ray_constants.ENABLE_RAY_CLUSTER = False
    if sys.platform == "linux":  # where the loopback interface has this name
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    ray.init(address="local", **quiet)


def least_workers(runtime: Runtime) -> int:
    """Workers that a training starts with at the least."""
    return runtime.min_workers or runtime.num_workers


def check_room(runtime: Runtime) -> None:
    """Refuse a training that the cluster has not enough CPUs for: Ray would wait for ever.

    Raises:
        UserError: says how many there are.
    """
    import ray

    least = least_workers(runtime)
    there = int(ray.cluster_resources().get("CPU", 0))
    if least * runtime.threads > there:
        raise UserError(
            f"runtime asks for {least} workers of {runtime.threads} threads, the "
            f"Ray cluster has {there} CPUs: lower runtime.num_workers or runtime.threads"
        )
