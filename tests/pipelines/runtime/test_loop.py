"""The training loop with real learners: resumed to the bit, rolled back, kept at its best."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from components.datasets.loading import MemoryBatches
from components.datasets.shards import Split
from components.learners.elbo import ELBOLearner
from components.learners.learner import Learner
from components.learners.optimisation import Schedule
from components.learners.tilting import TiltingLearner, TiltingSettings
from components.models.build import seeded
from components.models.vae import VAE
from components.models.vaebm import VAEBM
from components.samplers.langevin import LangevinSettings
from components.samplers.replay_buffer import ReplayBuffer
from pipelines.runtime.checkpoints import FolderStore
from pipelines.runtime.loop import Outcome, State, Task, Validation, train
from pipelines.runtime.progress import Board, BoardReporter, Event
from pipelines.runtime.settings import Plan

CPU = torch.device("cpu")
VAE_MODEL = {
    "kind": "vae",
    "shape": [2],
    "latent": 2,
    "likelihood": "gaussian",
    "network": {"kind": "mlp", "hidden": [16], "input_scale": 1.0},
}
ENERGY = {
    "kind": "fully-connected",
    "hidden": [16, 16],
    "input_scale": 1.0,
    "fourier": [],
    "fourier_count": 1,
    "normalisation": "weight",
}
OPTIMISER = {"betas": (0.9, 0.999), "weight_decay": 0.0, "clip_deviations": 3.0, "ema": 0.9}


def plan(**changes: Any) -> Plan:
    settings: dict[str, Any] = {
        "batch_size": 32,
        "precision": "float32",
        "steps": 24,
        "log_every": 3,
        "checkpoint_every": 5,
        "validate_every": 4,
        "validation_count": 1,
        "stop_gain": None,
        "max_rollbacks": 2,
    }
    return Plan.model_validate(settings | changes)


def points() -> Tensor:
    return torch.randn(150, 2, generator=torch.Generator().manual_seed(7)) * 2.0


def elbo_learner(rate: float = 1e-2) -> Learner:
    vae = seeded(VAE_MODEL, 0)
    assert isinstance(vae, VAE)
    return ELBOLearner(vae, 1.0, Schedule(rate, 0, "cosine", 24), OPTIMISER, 1, CPU, False)


def tilting_learner(rate: float = 1e-3) -> Learner:
    model = seeded({"kind": "vaebm", "base": VAE_MODEL, "energy": ENERGY, "space": "noise"}, 0)
    assert isinstance(model, VAEBM)
    settings = TiltingSettings(
        langevin=LangevinSettings(steps=2, step_size=0.01),
        energy_magnitude=0.1,
        spectral_penalty=0.1,
        warm_start_steps=6,
        warm_start_rate=1e-3,
        max_gap=50.0,
    )
    schedule, replay = Schedule(rate, 0, "constant", 18), ReplayBuffer(64, (2,), 0.9, 4)
    return TiltingLearner(model, settings, schedule, OPTIMISER, replay, 1, CPU, False)


def elbo_score(model: nn.Module, step: int) -> Validation:
    assert isinstance(model, VAE)
    with torch.no_grad():
        bound = model.bound(points(), torch.Generator().manual_seed(0)).elbo.mean().item()
    return Validation({"validation_elbo": bound}, score=-bound)


def sample_score(model: nn.Module, step: int) -> Validation:
    assert isinstance(model, VAEBM)
    chain = LangevinSettings(steps=1, step_size=0.01)
    items = model.sample(100, torch.Generator().manual_seed(0), chain).items
    return Validation({}, score=abs(items.std().item() - 2.0))


LEARNERS: dict[str, tuple[Callable[[], Learner], Callable[[nn.Module, int], Validation]]] = {
    "elbo": (elbo_learner, elbo_score),
    "tilting": (tilting_learner, sample_score),
}


def scores(*values: float) -> Callable[[nn.Module, int], Validation]:
    """Validations that give these scores one after the other, whatever the model."""

    def validate(model: nn.Module, step: int) -> Validation:
        return Validation({}, score=values[step // 4 - 1])

    return validate


def task(learner: Learner, validate: Callable[[nn.Module, int], Validation] | None = None) -> Task:
    return Task(learner, MemoryBatches(Split(points(), name="points"), 32, seed=3), validate)


class KilledError(Exception):
    """The process is gone."""


class MortalStore(FolderStore):
    """Kills the training after so many checkpoints."""

    def __init__(self, folder: Path, lives: int = 1000) -> None:
        super().__init__(folder)
        self.lives = lives
        self.steps: list[int] = []

    def save(self, step: int, state: State) -> None:
        super().save(step, state)
        self.steps.append(step)
        self.lives -= 1
        if self.lives == 0:
            raise KilledError


def run(made: Task, settings: Plan, store: FolderStore) -> Outcome:
    return train(made, settings, 5, 0, store.load(), store, BoardReporter(Board().post))


def exported(made: Task) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in made.learner.exported().state_dict().items()}


def assert_same(left: dict[str, Tensor], right: dict[str, Tensor]) -> None:
    assert left.keys() == right.keys()
    assert [key for key in left if not torch.equal(left[key], right[key])] == []


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
        assert asdict(run(resumed, settings, FolderStore(folder))) == asdict(outcome)
        assert_same(exported(resumed), exported(undisturbed))
        assert_same(resumed.learner.state_dict()["updater"]["network"], _network(undisturbed))


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
        newest = kept[-1] / "rank-0.pt"
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
    learner = Tripping(vae, 1.0, Schedule(1e-2, 0, "cosine", 24), OPTIMISER, 1, CPU, False)
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


def test_the_lowest_score_is_kept(tmp_path: Path) -> None:
    seen: dict[int, dict[str, Tensor]] = {}
    script = scores(5.0, 3.0, 1.0, 2.0, float("nan"), 1.5)

    def validate(model: nn.Module, step: int) -> Validation:
        seen[step] = {key: value.clone() for key, value in model.state_dict().items()}
        return script(model, step)

    made = task(elbo_learner(), validate)
    outcome = run(made, plan(), FolderStore(tmp_path))
    assert (outcome.kept_step, outcome.kept_score) == (12, 1.0)
    assert sorted(seen) == [4, 8, 12, 16, 20, 24] and outcome.step == 24
    assert_same(exported(made), seen[12])


def test_a_first_score_that_is_no_number_is_not_kept(tmp_path: Path) -> None:
    made = task(elbo_learner(), scores(float("nan"), 3.0, 4.0, 4.0, 4.0, 4.0))
    outcome = run(made, plan(), FolderStore(tmp_path))
    assert (outcome.kept_step, outcome.kept_score) == (8, 3.0)


def test_without_scores_the_last_weights_are_kept(tmp_path: Path) -> None:
    made = task(elbo_learner(), lambda model, step: Validation({"seen": 1.0}))
    outcome = run(made, plan(), FolderStore(tmp_path))
    assert (outcome.kept_step, outcome.kept_score) == (24, None)


@pytest.mark.parametrize(
    ("values", "end"),
    [
        ((100.0, 80.0, 79.5, 70.0, 60.0, 50.0), 12),  # 0.6 % gained
        ((100.0, 80.0, 90.0, 70.0, 60.0, 50.0), 12),  # worse
        ((-10.0, -20.0, -20.1, -30.0, -40.0, -50.0), 12),  # negative scores gain downwards
        ((100.0, 90.0, 80.0, 70.0, 60.0, 50.0), 24),
    ],
)
def test_it_stops_when_it_gains_too_little(
    values: tuple[float, ...], end: int, tmp_path: Path
) -> None:
    made, store = task(elbo_learner(), scores(*values)), MortalStore(tmp_path)
    outcome = run(made, plan(stop_gain=0.01), store)
    assert outcome.step == end and store.steps[-1] == end
    assert outcome.finished
    assert outcome.kept_step == 4 * (1 + int(np.argmin(values[: end // 4])))


def test_what_is_reported(tmp_path: Path) -> None:
    board = Board()
    made = task(elbo_learner(), elbo_score)
    settings = plan(steps=7, log_every=3, checkpoint_every=7, validate_every=7)
    outcome = train(made, settings, 5, 0, None, FolderStore(tmp_path), BoardReporter(board.post))
    events: list[Event] = board.take()
    curves = [event for event in events if event["kind"] == "metrics"]
    assert [event["step"] for event in curves] == [3, 6, 7, 7]
    assert [sorted(event["values"]) for event in curves[2:]] == [
        ["elbo", "kl", "log_likelihood"],
        ["validation_elbo"],
    ]
    last = [event for event in events if event["kind"] == "progress"][-1]
    assert (last["step"], last["steps"]) == (7, 7)
    assert outcome.history == [{"step": each["step"], **each["values"]} for each in curves]
