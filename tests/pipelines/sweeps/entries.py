"""Entries of `sweeps` for the small project's toy composition."""

from __future__ import annotations

from tests.pipelines.small_project import POINTS, Content

SAMPLE, COMPOSE = "sample.vaebm-toy.langevin", "compose.vaebm-toy.langevin"
FREE = {"metropolis": False, "step_size_max": None, "drift_limit": None}
"""Settings of a chain that nothing keeps from running away."""


def choice(*values: object) -> Content:
    return {"kind": "choice", "values": list(values)}


def sampling(space: Content, **changes: object) -> Content:
    """A sampling sweep."""
    return {
        "model": "vaebm-toy",
        "reads": "vaebm-toy",
        "data": POINTS,
        "trial": {"kind": "sampling", "draws": 2},
        "space": space,
        "fixed": {f"{SAMPLE}.{key}": value for key, value in FREE.items()},
        "judge": {"kind": "energy-distance", "count": 100},
        "search": {"kind": "grid"},
        "resources": {"cpus": 1, "gpus": 0, "at_once": 2},
        **changes,
    }


def training(space: Content) -> Content:
    """A training sweep: one trial after the other, halved from the sixth step on."""
    plan = {"validate_every": 2, "max_rollbacks": 1}
    fixed = {
        **{f"{COMPOSE}.{key}": value for key, value in FREE.items()},
        **{f"compose.vaebm-toy.plan.{key}": value for key, value in plan.items()},
        "compose.vaebm-toy.max_gap": 1.0e9,
    }
    scheduler = {"kind": "asha", "grace_steps": 6, "reduction": 2}
    return sampling(
        space,
        reads="vae-toy",
        trial={"kind": "training", "scheduler": scheduler},
        fixed=fixed,
        resources={"cpus": 1, "gpus": 0, "at_once": 1},
    )
