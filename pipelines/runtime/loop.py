"""The training loop: one function, the same inside Ray Train and in the stage's own process.

It knows nothing of Ray, MLflow or DVC: it is given a task, a plan, a store of checkpoints and a
reporter. A run that is killed and started again with the same store ends with the same weights as
one left alone, because a checkpoint holds all that the next step depends on.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from components.datasets.loading import Batches
from components.learners.learner import Metrics
from components.learners.parallel import average_tensors, of_first, world_size
from pipelines.runtime.settings import Plan
from pipelines.runtime.task import CheckpointStore, Outcome, Reporter, State, Task


def stream_seed(seed: int, rank: int, attempt: int, *more: int) -> int:
    """A seed of its own for each worker, each attempt after a rollback, and all that follows."""
    key = np.random.SeedSequence([seed, rank, attempt, *more])
    return int(key.generate_state(1, np.uint64)[0] >> 1)


def train(
    task: Task,
    plan: Plan,
    seed: int,
    rank: int,
    saved: State | None,
    store: CheckpointStore,
    reporter: Reporter,
) -> Outcome:
    """Train until the plan's last step, its stopping rule, or an incurable divergence.

    Args:
        task: learner, data and validation of this worker; the learner holds the kept weights at
            the end.
        plan: length and rhythm.
        seed: the training's seed; streams of workers and attempts are derived from it.
        rank: this worker's number.
        saved: the state to go on from, None at a fresh start.
        store: takes this worker's states.
        reporter: told of progress and metrics; may differ between workers.

    Returns:
        The story of the training.
    """
    return _Run(task, plan, seed, rank, store, reporter).run(saved)


class _Run:
    def __init__(
        self,
        task: Task,
        plan: Plan,
        seed: int,
        rank: int,
        store: CheckpointStore,
        reporter: Reporter,
    ) -> None:
        self.task, self.plan, self.seed, self.rank = task, plan, seed, rank
        self.store, self.reporter = store, reporter
        self.outcome = Outcome()
        self.best_weights: dict[str, Tensor] | None = None
        self.last_score: float | None = None
        self.stopped = False
        self.pending: list[Metrics] = []
        self.note = ""
        self.began = time.monotonic()

    def run(self, saved: State | None) -> Outcome:
        if saved is None:
            self.task.learner.prepare(self.task.batches.next())
            self.task.batches.load_state_dict({"epoch": 0, "position": 0})
            good = self._snapshot()
        else:
            self._restore(saved)
            self.began -= self.outcome.seconds
            self.reporter.said(f"goes on from the checkpoint of step {self.outcome.step}")
            if saved["workers"] != world_size():
                self._take_up(saved["workers"])
            good = self._snapshot()
        while self.outcome.step < self.plan.steps and not self.stopped:
            self._step()
            step = self.outcome.step
            last = step == self.plan.steps
            validating = last or step % self.plan.validate_every == 0
            saving = last or step % self.plan.checkpoint_every == 0
            if not (validating or saving or step % self.plan.log_every == 0):
                continue
            reason = self._report()
            if reason is None and (validating or saving):
                reason = self._broken()
            if reason is not None:
                if len(self.outcome.rollbacks) >= self.plan.max_rollbacks:
                    self._give_up(good, reason)
                    break
                self._roll_back(good, reason)
                continue
            self.stopped = validating and self._validate()
            if saving or self.stopped:
                good = self._snapshot()
                self.store.save(step, good)
        self._keep_best()
        self.outcome.seconds = self._seconds()
        return self.outcome

    def _seconds(self) -> float:
        return time.monotonic() - self.began

    def _step(self) -> None:
        step = self.outcome.step
        self.pending.append(self.task.learner.training_step(self.task.batches.next(), step))
        self.outcome.step = step + 1

    def _report(self) -> str | None:
        """Average what happened since the last report; say why if it has run away."""
        names = list(self.pending[-1])
        table = torch.stack([torch.stack([row[name] for name in names]) for row in self.pending])
        mean = table.float().mean(dim=0)
        average_tensors([mean])
        values = dict(zip(names, mean.tolist(), strict=True))
        self.pending.clear()
        step = self.outcome.step
        reason = self.task.learner.diverged(values)
        finite = {name: value for name, value in values.items() if np.isfinite(value)}
        self.outcome.history.append({"step": step, **finite})
        self.reporter.metrics(step, finite)
        shown = ", ".join(f"{name} {value:.4g}" for name, value in list(finite.items())[:3])
        self.reporter.progress(step, self.plan.steps, self.note or shown)
        return reason

    def _broken(self) -> str | None:
        """Say so if the last update broke the weights: its metrics were read before it.

        Such a state must neither be judged nor become the one that a rollback goes back to.
        """
        finite = _finite(self.task.learner.state_dict())
        broken = torch.tensor([0.0 if finite else 1.0], device=self.task.learner.device)
        average_tensors([broken])
        return "weights not finite" if broken.item() > 0.0 else None

    def _validate(self) -> bool:
        """Keep the model's weights if they are the best so far, say whether to stop."""
        if self.task.validate is None:
            return False
        model, step = self.task.learner.exported(), self.outcome.step
        metrics, score = of_first(partial(self._judge, model), self.task.learner.device)
        self.outcome.history.append({"step": step, **metrics})
        self.reporter.metrics(step, metrics)
        self.note = ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())
        if score is None or not np.isfinite(score):
            return False
        if self.outcome.kept_score is None or score < self.outcome.kept_score:
            self.outcome.kept_score, self.outcome.kept_step = score, step
            self.best_weights = _cloned(model.state_dict())
        previous, self.last_score = self.last_score, score
        if self.plan.stop_gain is None or previous is None:
            return False
        return previous - score < self.plan.stop_gain * abs(previous)

    def _judge(self, model: nn.Module) -> tuple[dict[str, float], float | None]:
        assert self.task.validate is not None
        validation = self.task.validate(model, self.outcome.step)
        if validation.picture is not None:
            self.reporter.picture(self.outcome.step, "samples", validation.picture)
        return validation.metrics, validation.score

    def _snapshot(self) -> State:
        return {
            "learner": _cloned(self.task.learner.state_dict()),
            "batches": _cloned(self.task.batches.state_dict()),
            "best_weights": self.best_weights,
            "last_score": self.last_score,
            "stopped": self.stopped,
            "workers": world_size(),
            "outcome": {
                "step": self.outcome.step,
                "kept_step": self.outcome.kept_step,
                "kept_score": self.outcome.kept_score,
                "rollbacks": [list(entry) for entry in self.outcome.rollbacks],
                "history": [dict(row) for row in self.outcome.history],
                "abandoned": [dict(row) for row in self.outcome.abandoned],
                "finished": True,
                "seconds": self._seconds(),
            },
        }

    def _restore(self, state: State) -> None:
        self.task.learner.load_state_dict(_cloned(state["learner"]))
        self.task.batches.load_state_dict(_within(state["batches"], self.task.batches))
        self.best_weights = state["best_weights"]
        self.last_score = state["last_score"]
        self.stopped = state["stopped"]
        saved = copy.deepcopy(state["outcome"])
        saved["rollbacks"] = [(int(step), str(reason)) for step, reason in saved["rollbacks"]]
        self.outcome = Outcome(**saved)
        self.pending.clear()

    def _take_up(self, writers: int) -> None:
        """Go on from the state of another number of workers.

        Networks and optimisers are the same on all workers, the data's position is a number of
        global batches, and a worker has taken a writer's whole state, replay buffer included. What
        no two workers may share is the random stream: each takes a new one.
        """
        step, workers, attempt = self.outcome.step, world_size(), len(self.outcome.rollbacks)
        self.reporter.said(f"{writers} workers trained before, {workers} from here on")
        self.task.learner.reseed(stream_seed(self.seed, self.rank, attempt, step, workers))

    def _roll_back(self, good: State, reason: str) -> None:
        story = self._abandon(good, reason)
        self.reporter.said(
            f"diverged at step {story[-1][0]} ({reason}): back to step {self.outcome.step} with "
            f"another random stream, {len(story)} of {self.plan.max_rollbacks} times"
        )
        self.task.learner.reseed(stream_seed(self.seed, self.rank, len(story)))
        self.reporter.metrics(story[-1][0], {"rollbacks": float(len(story))})
        self.note = f"rolled back from step {story[-1][0]}: {reason}"

    def _give_up(self, good: State, reason: str) -> None:
        story = self._abandon(good, reason)
        self.outcome.finished = False
        self.reporter.said(
            f"diverged at step {story[-1][0]} ({reason}) and has gone back {len(story) - 1} times "
            "already: training ends here"
        )
        self.reporter.metrics(story[-1][0], {"rollbacks": float(len(story))})

    def _abandon(self, good: State, reason: str) -> list[tuple[int, str]]:
        """Go back to the last good state; what went wrong since is remembered, not the outcome's.

        Returns:
            All divergences so far, this one the last.
        """
        story = [*self.outcome.rollbacks, (self.outcome.step, reason)]
        since, attempt = good["outcome"]["step"], float(len(story))
        lost = [{"attempt": attempt, **row} for row in self.outcome.history if row["step"] > since]
        abandoned = [*self.outcome.abandoned, *lost]
        self._restore(good)
        self.outcome.rollbacks, self.outcome.abandoned = story, abandoned
        return story

    def _keep_best(self) -> None:
        if self.best_weights is None:
            self.outcome.kept_step = self.outcome.step
        else:
            self.task.learner.exported().load_state_dict(self.best_weights)


def _within(position: dict[str, int], batches: Batches) -> dict[str, int]:
    """A saved position of the data; streams of more workers may have shorter epochs."""
    if position["position"] < batches.steps_per_epoch:
        return position
    return {"epoch": position["epoch"] + 1, "position": 0}


def _finite(value: Any) -> bool:
    if isinstance(value, Tensor):
        return not value.is_floating_point() or bool(value.isfinite().all())
    if isinstance(value, Mapping):
        return all(_finite(item) for item in value.values())
    if isinstance(value, list | tuple):
        return all(_finite(item) for item in value)
    return True


def _cloned(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, Mapping):
        return {key: _cloned(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_cloned(item) for item in value)
    return value
