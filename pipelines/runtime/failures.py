"""Which failures of workers are worth another try: losses are, mistakes of the user are not."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Future
from typing import Any

import ray
from ray.exceptions import RayActorError
from ray.train import UserCallback

from components.errors import UserError
from pipelines.runtime.progress import Event

SHOWN = 120
"""Characters of an error that are shown."""


class MistakesEndTraining(UserCallback):
    """Ends a training at a worker's `UserError`; Ray would start the workers again for it."""

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        mistake = meant_for_user(worker_exceptions.values())
        if mistake is not None:
            raise mistake  # as a fault of the controller, which Ray does not try again


class LossesAreTold(UserCallback):
    """Tells the user that workers are gone and that Ray starts again.

    Args:
        board: the actor that the stage's process reads.
    """

    def __init__(self, board: Any) -> None:
        self._board = board

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        lost = ", ".join(str(rank) for rank in sorted(worker_exceptions))
        reason = str(next(iter(worker_exceptions.values()))).strip().splitlines()[0]
        line = f"lost worker {lost} ({reason[:SHOWN]}); starts again from the last checkpoint"
        self._board.post.remote({"kind": "lost", "line": line})


class BoardReader:
    """What the stage's process reads of the board, and sees of the cluster after a loss.

    Args:
        board: the actor.
        least: CPUs that the training needs to start again.
        ended: of the training; fails when this process is cut off from the cluster, which Ray
            would wait for without end.
    """

    def __init__(self, board: Any, least: int, ended: Future[None]) -> None:
        self._board, self._least, self._ended = board, least, ended
        self._lost = False

    def take(self) -> list[Event]:
        """Events since the last call; once after a loss, that nodes are waited for."""
        try:
            events: list[Event] = ray.get(self._board.take.remote())
        except RayActorError:
            if not self._ended.done():
                self._ended.set_exception(
                    UserError(
                        "the Ray node of this process is lost: start the stage again, and it goes "
                        "on from its last checkpoint"
                    )
                )
            return []
        kinds = [event["kind"] for event in events]
        self._lost = ("lost" in kinds or self._lost) and "started" not in kinds
        there = int(ray.cluster_resources().get("CPU", 0)) if self._lost else self._least
        if there < self._least:
            self._lost = False
            line = f"waits for {self._least - there} CPUs more, of nodes that are lost"
            events.append({"kind": "said", "line": line})
        return events


def meant_for_user(failures: Iterable[BaseException]) -> UserError | None:
    """The `UserError` that a worker raised, if one did: Ray wraps it in errors of its own."""
    for failure in failures:
        here: BaseException | None = failure
        while here is not None:
            if isinstance(here, UserError):
                return here
            here = getattr(here, "_base_exc", None) or here.__cause__
    return None
