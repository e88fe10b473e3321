"""`dvc repro` with independent branches of the DAG at the same time, as tasks of a Ray cluster.

Joins the running Ray cluster (`runtime.ray_address`, RAY_ADDRESS or the local one), or starts one
on this machine. Outputs and dvc.lock are those of `dvc repro`, and what has not changed does not
run. Stages run on this node and their trainings wherever Ray Train finds room; with --spread the
stages themselves run on any node, which must see this folder under the same path.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from components.errors import UserError
from pipelines.cluster.branches import Ended, run_branches
from pipelines.cluster.lock_order import orderly_locks
from pipelines.cluster.plan import read_plan
from pipelines.runtime.cli import quieten_libraries
from pipelines.runtime.guard import end_on_sigterm
from pipelines.runtime.ray_session import RAY_ENVIRONMENT, attach
from pipelines.runtime.settings import Runtime, load_params

STARTING = "16"
"""Processes that Ray may start at a time: with its two on two cores it warns at each training."""


def main() -> None:
    """Parse the arguments and run; exit status 1 if a stage failed, 2 for a wrong call."""
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.cluster.repro",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "targets",
        nargs="*",
        help="as `dvc repro` takes them: a stage, or a study's dvc.yaml (default: dvc.yaml)",
    )
    parser.add_argument(
        "--at-once",
        type=int,
        default=16,
        metavar="N",
        help="stages at the same time, at the most; the cluster's CPUs and GPUs bound them anyway "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--spread", action="store_true", help="let stages run on any node of the cluster"
    )
    arguments = parser.parse_args()
    quieten_libraries()
    end_on_sigterm()
    try:
        if arguments.at_once < 1:
            raise UserError(f"--at-once {arguments.at_once}: at least 1")
        ended = repro(Path.cwd(), arguments.targets, arguments.at_once, arguments.spread)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    if ended.failed:
        skipped = f"; not run, waiting for it: {', '.join(ended.skipped)}" if ended.skipped else ""
        print(f"error: failed: {', '.join(ended.failed)}{skipped}", file=sys.stderr)
        sys.exit(1)


def repro(root: Path, targets: list[str], at_once: int, spread: bool) -> Ended:
    """Run what `dvc repro TARGETS` would.

    Args:
        root: the repository's folder.
        targets: as `dvc repro` takes them.
        at_once: stages at the same time, at the most.
        spread: whether stages may run on other nodes than this.

    Raises:
        UserError: a wrong target, wrong settings, no Ray cluster at the address.
    """
    plan = read_plan(root, targets)
    runtime = load_params(root / "params.yaml").runtime
    own = RAY_ENVIRONMENT | {"RAY_worker_maximum_startup_concurrency": STARTING}
    os.environ.update({k: v for k, v in own.items() if k not in os.environ})
    _open_tracking(runtime, root)
    attach(runtime)
    with orderly_locks(root, [stage.target for stage in plan]):
        return run_branches(root, plan, at_once, spread, _say)


def _open_tracking(runtime: Runtime, root: Path) -> None:
    """Make MLflow's database before stages want it at the same time, which it does not survive.

    A server that does not answer is said here too, before any stage starts.
    """
    from pipelines.runtime.tracking import Tracker

    Tracker(runtime, root)


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    main()
