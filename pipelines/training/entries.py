"""What the trainings of bases, and those of compositions, have in common."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from components.models.build import Description
from components.samplers.langevin import LangevinSettings
from pipelines.runtime.stage import TrainedSettings, Training

MODELS = Path("models")
FEATURES = MODELS / "features"
SHARDS = Path("data/shards")


class ModelSettings(TrainedSettings, Protocol):
    """What the settings of any model hold."""

    @property
    def kind(self) -> str:
        """Of the model."""

    @property
    def data(self) -> str:
        """The data set's name."""


class CompositionSettings(ModelSettings, Protocol):
    """What the settings of any composition hold."""

    @property
    def base(self) -> str:
        """The base's name."""


def base_training(
    name: str,
    settings: ModelSettings,
    model: Description,
    inputs: Mapping[str, Path] | None = None,
    chain: LangevinSettings | None = None,
) -> Training:
    """An entry of `pretrain`, resolved.

    Args:
        name: of the model.
        settings: of the entry.
        model: description of the model.
        inputs: what the training reads beside its data set's shards.
        chain: how the model is sampled by who loads it from MLflow and says nothing else.
    """
    return Training(
        stage="pretrain",
        name=name,
        settings=settings,
        model=model,
        inputs={"shards": SHARDS / settings.data, **(inputs or {})},
        target=MODELS / name,
        tags={"dataset": settings.data, "family": "base", "kind": settings.kind},
        chain=chain,
    )


def composition_training(
    name: str,
    settings: CompositionSettings,
    model: Description,
    inputs: Mapping[str, Path] | None = None,
    chain: LangevinSettings | None = None,
) -> Training:
    """An entry of `compose`, resolved.

    Args:
        name: of the model.
        settings: of the entry.
        model: description of the model.
        inputs: what the training reads beside its base and its data set's shards.
        chain: how the model is sampled by who loads it from MLflow and says nothing else.
    """
    read = {"shards": SHARDS / settings.data, "base": MODELS / settings.base}
    return Training(
        stage="compose",
        name=name,
        settings=settings,
        model=model,
        inputs={**read, **(inputs or {})},
        target=MODELS / name,
        tags={
            "dataset": settings.data,
            "family": "composition",
            "kind": settings.kind,
            "base": settings.base,
        },
        chain=chain,
    )
