"""Train a composition on a base: compose.NAME of the settings, to models/NAME.

Reads models/BASE and the shards. Writes models/NAME (base and composition together),
metrics/compose/NAME.json, plots/compose/NAME/*.csv.
A killed training goes on from its last checkpoint when the stage is started again.
"""

from __future__ import annotations

from typing import Any

from pipelines.runtime.cli import run_stage
from pipelines.runtime.launch import Place
from pipelines.runtime.settings import Params, entry
from pipelines.runtime.stage import Training, train_and_export
from pipelines.runtime.task import Task
from pipelines.training import latent_prior, vaebm

FAMILIES = {"vaebm": vaebm, "latent-prior": latent_prior}
"""What resolves an entry of a kind (`training_of`) and makes a worker's part of it (`build`)."""


def main(name: str, params: Params) -> None:
    """Run the stage for one entry."""
    train_and_export(training_of(name, params), params)


def training_of(name: str, params: Params) -> Training:
    """An entry's training, resolved.

    Raises:
        UserError: no such entry, or no exported base.
    """
    settings = entry(params.compose, "compose", name)
    training: Training = FAMILIES[settings.kind].training_of(name, settings)
    return training


def build(description: dict[str, Any], place: Place) -> Task:
    """Make a worker's part of the training (see `pipelines.runtime.launch`)."""
    task: Task = FAMILIES[description["settings"]["kind"]].build(description, place)
    return task


if __name__ == "__main__":
    run_stage(__doc__, main)
