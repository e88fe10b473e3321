"""A training that diverges goes back to where it was good."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from components.learners.elbo import ELBOLearner
from components.learners.optimisation import Schedule
from components.models.build import seeded
from components.models.vae import VAE
from pipelines.runtime.checkpoints import FolderStore
from pipelines.runtime.loop import train
from pipelines.runtime.progress import Board, BoardReporter
from tests.pipelines.runtime.loop_cases import (
    CPU,
    OPTIMISER,
    VAE_MODEL,
    MortalStore,
    assert_same,
    elbo_learner,
    elbo_score,
    exported,
    plan,
    run,
    scores,
    task,
    tilting_learner,
)


def test_divergence_is_rolled_back_and_told(tmp_path: Path) -> None:
    board = Board()
    made = task(tilting_learner(rate=1e4), scores(3.0, 2.0, 1.0, 0.5, 0.4, 0.3))
    store = MortalStore(tmp_path)
    settings = plan(checkpoint_every=4, max_rollbacks=2)
    outcome = train(made, settings, 5, 0, None, store, BoardReporter(board.post))
    # The learning rate is sane until step 6, the warm start's end.
    assert not outcome.finished
    assert len(outcome.rollbacks) == 3  # two that were rolled back, and the last
    assert all(6 < step <= 6 + settings.log_every for step, _ in outcome.rollbacks)
    assert all("beyond 50 nats" in why or "not finite" in why for _, why in outcome.rollbacks)
    assert outcome.step == 4 and outcome.kept_step == 4 and outcome.kept_score == 3.0
    assert store.steps == [4]
    assert all(row["step"] <= 4 for row in outcome.history)
    # What was rolled back is still to be seen, each attempt by itself, to the step of its end.
    ends = {row["attempt"]: row["step"] for row in outcome.abandoned}
    assert ends == {float(n): step for n, (step, _) in enumerate(outcome.rollbacks, start=1)}
    assert all(row["step"] > 4 for row in outcome.abandoned)
    good = store.load()
    assert good is not None
    assert_same(exported(made), good["best_weights"])
    assert all(bool(value.isfinite().all()) for value in exported(made).values())
    told = [event for event in board.take() if event["kind"] == "metrics"]
    assert [event["values"]["rollbacks"] for event in told if "rollbacks" in event["values"]] == [
        1.0,
        2.0,
        3.0,
    ]


class Tripping(ELBOLearner):
    """Diverges while its random stream is the first one."""

    first_seed = 1

    def diverged(self, metrics: Any) -> str | None:
        first = self.generator.initial_seed() == self.first_seed
        return "tripped" if first and self.generator_steps() else None

    def generator_steps(self) -> bool:
        return bool(self.updater.adam.state)


def test_a_rollback_takes_another_random_stream(tmp_path: Path) -> None:
    vae = seeded(VAE_MODEL, 0)
    assert isinstance(vae, VAE)
    learner = Tripping(vae, 1.0, Schedule(1e-2, 0, "cosine", 24), OPTIMISER, 1, CPU)
    before = {key: value.clone() for key, value in vae.state_dict().items()}
    seeds = []
    reseed = learner.reseed

    def noted(seed: int) -> None:
        seeds.append(seed)
        assert_same(dict(learner.updater.network.state_dict()), before)  # rolled back first
        reseed(seed)

    learner.reseed = noted  # type: ignore[method-assign]
    outcome = run(task(learner), plan(), FolderStore(tmp_path))
    assert outcome.rollbacks == [(3, "tripped")] and outcome.finished and outcome.step == 24
    assert len(set(seeds)) == 1 and seeds[0] != 1
    assert {row["step"] for row in outcome.history} >= {3, 24}


def test_broken_weights_never_become_the_checkpoint_to_go_back_to(tmp_path: Path) -> None:
    """An update that breaks the weights shows in the metrics of the next step only."""
    learner = elbo_learner()
    step_of = learner.training_step

    def breaking(batch: Any, step: int) -> Any:
        metrics = step_of(batch, step)
        if step == 9 and learner.generator.initial_seed() == 1:  # the 10th: checkpoint due
            with torch.no_grad():
                next(iter(learner.exported().parameters())).fill_(torch.nan)
        return metrics

    learner.training_step = breaking  # type: ignore[method-assign]
    store = MortalStore(tmp_path)
    made = task(learner, elbo_score)
    outcome = run(made, plan(), store)
    assert outcome.rollbacks == [(10, "weights not finite")]
    assert outcome.finished and outcome.step == 24
    assert all(bool(value.isfinite().all()) for value in exported(made).values())
