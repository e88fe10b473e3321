"""A training that is killed goes on to the same weights, to the bit."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor

from pipelines.runtime.checkpoints import FolderStore
from pipelines.runtime.task import Task
from tests.pipelines.runtime.loop_cases import (
    LEARNERS,
    KilledError,
    MortalStore,
    assert_same,
    elbo_learner,
    elbo_score,
    exported,
    plan,
    run,
    task,
)


@pytest.mark.parametrize("kind", LEARNERS)
@pytest.mark.parametrize("stop_gain", [None, 0.9])
def test_killed_after_any_checkpoint_it_ends_the_same(
    kind: str, stop_gain: float | None, tmp_path: Path
) -> None:
    make, validate = LEARNERS[kind]
    settings = plan(stop_gain=stop_gain)
    undisturbed, store = task(make(), validate), MortalStore(tmp_path / "undisturbed")
    outcome = run(undisturbed, settings, store)
    assert (outcome.step == 24) == (stop_gain is None)
    assert len(store.steps) >= 2
    for lives in range(1, len(store.steps) + 1):
        folder = tmp_path / f"killed-{lives}"
        with pytest.raises(KilledError):
            run(task(make(), validate), settings, MortalStore(folder, lives))
        resumed = task(make(), validate)
        assert run(resumed, settings, FolderStore(folder)) == outcome
        assert_same(exported(resumed), exported(undisturbed))
        assert_same(resumed.learner.state_dict()["updater"]["network"], _network(undisturbed))


def test_the_time_of_all_processes_counts(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    with pytest.raises(KilledError):
        run(task(elbo_learner(), elbo_score), plan(), MortalStore(tmp_path, 2))
    state = store.load()
    assert state is not None and state["outcome"]["seconds"] > 0.0
    state["outcome"]["seconds"] = 5000.0
    store.save(state["outcome"]["step"] + 1, state)
    found = run(task(elbo_learner(), elbo_score), plan(), store).seconds
    assert 5000.0 < found < 6000.0


def _network(made: Task) -> dict[str, Tensor]:
    network: dict[str, Tensor] = made.learner.state_dict()["updater"]["network"]
    return network


def test_a_checkpoint_cut_short_is_passed_over(tmp_path: Path) -> None:
    undisturbed = task(elbo_learner(), elbo_score)
    run(undisturbed, plan(), FolderStore(tmp_path / "undisturbed"))
    for damage in ("cut", "flipped", "no-checksum"):
        folder = tmp_path / damage
        with pytest.raises(KilledError):
            run(task(elbo_learner(), elbo_score), plan(), MortalStore(folder, 3))
        kept = sorted(folder.glob("step-*"))
        assert [path.name for path in kept] == ["step-000000010", "step-000000015"]
        newest = kept[-1] / "rank-0-of-1.pt"
        content = newest.read_bytes()
        if damage == "cut":
            newest.write_bytes(content[: len(content) // 2])
        elif damage == "flipped":
            middle = len(content) // 2
            newest.write_bytes(
                content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
            )
        else:
            newest.with_suffix(".sha256").unlink()
        state = FolderStore(folder).load()
        assert state is not None and state["outcome"]["step"] == 10
        resumed = task(elbo_learner(), elbo_score)
        run(resumed, plan(), FolderStore(folder))
        assert_same(exported(resumed), exported(undisturbed))
        shutil.rmtree(folder)


def test_another_seed_gives_other_weights(tmp_path: Path) -> None:
    """Else the comparisons above would show nothing."""
    left, right = task(elbo_learner()), task(elbo_learner())
    right.learner.reseed(2)
    for number, made in enumerate((left, right)):
        run(made, plan(), FolderStore(tmp_path / str(number)))
    assert not all(
        torch.equal(a, b)
        for a, b in zip(exported(left).values(), exported(right).values(), strict=True)
    )
