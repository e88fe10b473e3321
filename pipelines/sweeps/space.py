"""From settings to Ray Tune: what is varied, how it is searched, what is stopped early."""

from __future__ import annotations

from typing import Any

from ray import tune
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler
from ray.tune.search import BasicVariantGenerator, SearchAlgorithm, Searcher

from pipelines.runtime.settings import Search, Space, Sweep

STEP = "step"
NO_LIMIT = 2**31
"""Rungs end with the trials themselves: a trial that got to its last step is complete."""


def param_space(sweep: Sweep) -> dict[str, Any]:
    """Tune's space: settings path → domain."""
    grid = sweep.search.kind == "grid"
    return {path: _domain(space, grid) for path, space in sweep.space.items()}


def search_algorithm(search: Search, at_once: int) -> Searcher | SearchAlgorithm:
    """How the next trial's values are chosen, always to make the metric small.

    Args:
        search: settings.
        at_once: most trials at a time. Tune's own bound reaches only searchers like Optuna's.
    """
    if search.kind != "optuna":
        seed = getattr(search, "seed", None)
        return BasicVariantGenerator(max_concurrent=at_once, random_state=seed)
    import optuna
    from ray.tune.search.optuna import OptunaSearch

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return OptunaSearch(seed=search.seed)


def scheduler_of(sweep: Sweep) -> TrialScheduler:
    """Which trials are stopped early."""
    if sweep.trial.kind == "sampling" or sweep.trial.scheduler.kind == "none":
        return FIFOScheduler()
    asha = sweep.trial.scheduler
    return ASHAScheduler(
        time_attr=STEP,
        max_t=NO_LIMIT,
        grace_period=asha.grace_steps,
        reduction_factor=asha.reduction,
    )


def sample_count(search: Search) -> int:
    """Draws from the space; a grid is drawn once, whole."""
    return 1 if search.kind == "grid" else search.trials


def trial_count(sweep: Sweep) -> int:
    """Trials of the whole sweep."""
    count = sample_count(sweep.search)
    if sweep.search.kind == "grid":
        for space in sweep.space.values():
            count *= len(space.values) if space.kind == "choice" else 1
    return count


def _domain(space: Space, grid: bool) -> Any:
    match space.kind:
        case "uniform":
            return tune.uniform(space.low, space.high)
        case "log-uniform":
            return tune.loguniform(space.low, space.high)
        case "integer":
            return tune.randint(space.low, space.high + 1)
        case "log-integer":
            return tune.lograndint(space.low, space.high + 1)
        case "choice" if grid:
            return tune.grid_search(space.values)
        case "choice":
            return tune.choice(space.values)
