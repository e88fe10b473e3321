"""Train a base: pretrain.NAME of the settings, from the shards to models/NAME.

Writes models/NAME (weights and settings), metrics/pretrain/NAME.json, plots/pretrain/NAME/*.csv.
A killed training goes on from its last checkpoint when the stage is started again.
"""

from __future__ import annotations

from typing import Any

from pipelines.runtime.cli import run_stage
from pipelines.runtime.launch import Place
from pipelines.runtime.settings import (
    DDPMPretrain,
    DenoisingGANPretrain,
    FlowPretrain,
    GANPretrain,
    LatentPretrain,
    Params,
    ShortRunPretrain,
    entry,
)
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

BUILDERS = {
    "vae": vae.build,
    "latent": latent.build,
    "short-run-ebm": short_run.build,
    "gradient-flow": gradient_flow.build,
    "denoising-gan": denoising_gan.build,
    "ddpm": ddpm.build,
    "gan": plain_gan.build,
}


def main(name: str, params: Params) -> None:
    """Run the stage for one entry."""
    train_and_export(training_of(name, params), params)


def training_of(name: str, params: Params) -> Training:
    """An entry's training, resolved.

    Raises:
        UserError: no such entry, or no shards.
    """
    settings = entry(params.pretrain, "pretrain", name)
    if isinstance(settings, LatentPretrain):
        return latent.training_of(name, settings)
    if isinstance(settings, ShortRunPretrain):
        return short_run.training_of(name, settings)
    if isinstance(settings, FlowPretrain):
        return gradient_flow.training_of(name, settings)
    if isinstance(settings, DenoisingGANPretrain):
        return denoising_gan.training_of(name, settings)
    if isinstance(settings, DDPMPretrain):
        return ddpm.training_of(name, settings)
    if isinstance(settings, GANPretrain):
        return plain_gan.training_of(name, settings)
    return vae.training_of(name, settings)


def build(description: dict[str, Any], place: Place) -> Task:
    """Make a worker's part of the training (see `pipelines.runtime.launch`)."""
    return BUILDERS[description["settings"]["kind"]](description, place)


if __name__ == "__main__":
    run_stage(__doc__, main)
