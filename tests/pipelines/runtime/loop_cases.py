"""What the tests of the training loop share: real learners on points, and a store that kills."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from components.datasets.loading import MemoryBatches
from components.datasets.shards import Split
from components.learners.computing import Computing
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
from pipelines.runtime.loop import train
from pipelines.runtime.progress import Board, BoardReporter
from pipelines.runtime.settings import Plan
from pipelines.runtime.task import Outcome, State, Task, Validation

CPU = Computing(torch.device("cpu"))
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
        "accumulation": 1,
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
    return ELBOLearner(vae, 1.0, Schedule(rate, 0, "cosine", 24), OPTIMISER, 1, CPU)


def tilting_learner(rate: float = 1e-3) -> Learner:
    model = seeded({"kind": "vaebm", "base": VAE_MODEL, "energy": ENERGY, "space": "noise"}, 0)
    assert isinstance(model, VAEBM)
    settings = TiltingSettings(
        langevin=LangevinSettings(steps=2, step_size=0.01),
        energy_magnitude=0.1,
        spectral_penalty=0.1,
        warm_start_steps=6,
        warm_start_rate=1e-3,
        warm_start_normaliser=False,
        max_gap=50.0,
    )
    schedule, replay = Schedule(rate, 0, "constant", 18), ReplayBuffer(64, (2,), 0.9, 4)
    return TiltingLearner(model, settings, schedule, OPTIMISER, replay, 1, CPU)


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
