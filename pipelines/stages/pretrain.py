"""Train a base: pretrain.NAME of the settings, from the shards to models/NAME.

Writes models/NAME (weights and settings), metrics/pretrain/NAME.json, plots/pretrain/NAME/*.csv.
A killed training goes on from its last checkpoint when the stage is started again.
"""

from __future__ import annotations

from typing import Any

from pipelines.runtime.cli import run_stage
from pipelines.runtime.launch import Place
from pipelines.runtime.settings import Params, entry
from pipelines.runtime.stage import Training, train_and_export
from pipelines.runtime.task import Task
from pipelines.training import (
    ddpm,
    denoising_gan,
    gradient_flow,
    latent,
    plain_gan,
    short_run,
    vae,
)

FAMILIES = {
    "vae": vae,
    "latent": latent,
    "short-run-ebm": short_run,
    "gradient-flow": gradient_flow,
    "denoising-gan": denoising_gan,
    "ddpm": ddpm,
    "gan": plain_gan,
}
"""What resolves an entry of a kind (`training_of`) and makes a worker's part of it (`build`)."""


def main(name: str, params: Params) -> None:
    """Run the stage for one entry."""
    train_and_export(training_of(name, params), params)


def training_of(name: str, params: Params) -> Training:
    """An entry's training, resolved.

    Raises:
        UserError: no such entry, or no shards.
    """
    settings = entry(params.pretrain, "pretrain", name)
    training: Training = FAMILIES[settings.kind].training_of(name, settings)
    return training


def build(description: dict[str, Any], place: Place) -> Task:
    """Make a worker's part of the training (see `pipelines.runtime.launch`)."""
    task: Task = FAMILIES[description["settings"]["kind"]].build(description, place)
    return task


if __name__ == "__main__":
    run_stage(__doc__, main)
