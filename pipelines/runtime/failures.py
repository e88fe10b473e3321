"""Which failures of workers are worth another try: losses are, mistakes of the user are not."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ray.train import UserCallback

from components.errors import UserError


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
        line = f"lost worker {lost} ({reason}); starts again from the last checkpoint"
        self._board.post.remote({"kind": "said", "line": line})


def meant_for_user(failures: Iterable[BaseException]) -> UserError | None:
    """The `UserError` that a worker raised, if one did: Ray wraps it in errors of its own."""
    for failure in failures:
        here: BaseException | None = failure
        while here is not None:
            if isinstance(here, UserError):
                return here
            here = getattr(here, "_base_exc", None) or here.__cause__
    return None
