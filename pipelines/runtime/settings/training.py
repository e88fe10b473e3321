"""Settings of training: where it runs, how long, with which optimiser, and what the bases are."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from pipelines.runtime.secrets import has_credentials
from pipelines.runtime.settings.base import (
    Amount,
    Count,
    NonNegative,
    Positive,
    Settings,
    Share,
)


class Runtime(Settings):
    """Where and how work runs. Changes no result and invalidates no stage."""

    num_workers: Amount  # Ray Train workers; 0 trains in the stage's own process, without Ray
    min_workers: Count | None  # go on with so many if nodes are lost; null: wait for the nodes
    threads: Count  # torch threads of each worker
    gpu: bool  # one GPU for each worker
    ray_address: str | None  # null: a running local cluster if there is one, else a fresh one
    max_failures: Amount  # how many lost workers a training survives
    tracking_uri: str | None  # MLflow; null: sqlite and artifacts in this folder
    experiment: str  # MLflow experiment
    memory_limit_mb: Count  # data sets up to this size are held in memory, larger ones stream
    compile: bool  # networks by torch.compile: same results but for rounding
    pin_memory: bool  # batches reach the GPU through page-locked memory, without waiting

    @model_validator(mode="after")
    def _pinned_for_a_gpu(self) -> Runtime:
        if self.pin_memory and not self.gpu:
            raise ValueError("pin_memory false: without gpu there is nothing to pin memory for")
        return self

    @field_validator("tracking_uri")
    @classmethod
    def _no_credentials(cls, address: str | None) -> str | None:
        if address is not None and has_credentials(address):
            raise ValueError(
                "an address without user and password, since this file is in git: export "
                "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD (or MLFLOW_TRACKING_URI)"
            )
        return address

    @model_validator(mode="after")
    def _least_is_not_most(self) -> Runtime:
        if self.min_workers is not None and self.min_workers > self.num_workers:
            raise ValueError(f"min_workers null, or at most num_workers, {self.num_workers}")
        return self


class HalvingDecay(Settings):
    """Learning rate in stairs."""

    kind: Literal["halving"]
    every: Count  # steps; then the learning rate is halved


class Optimiser(Settings):
    """Adam and its schedule."""

    learning_rate: Positive
    betas: tuple[Share, Share]
    weight_decay: NonNegative
    warmup_steps: Amount  # linear, from 0
    decay: Literal["constant", "cosine", "linear"] | HalvingDecay  # from warmup_steps to the end
    clip_deviations: Positive | None  # clip gradients at this many Adam standard deviations
    ema: Share  # decay of the averaged weights per step; 0: no average


class Plan(Settings):
    """The length and the rhythm of a training."""

    batch_size: Count  # items, over all workers
    precision: Literal["float32", "bfloat16", "float16"]  # of the passes; weights stay float32
    accumulation: Count  # equal parts that a worker takes its share of the batch in
    steps: Count  # optimiser updates at the most
    log_every: Count  # steps; also the longest time that a divergence goes unnoticed
    checkpoint_every: Count  # steps
    validate_every: Count  # steps
    validation_count: Count  # items of the training split held out
    stop_gain: Share | None  # stop when the score gains less than this share in validate_every
    max_rollbacks: Amount  # after a divergence: back to the last good checkpoint, new seed


class MLPNetwork(Settings):
    """Fully connected encoder and decoder, for points."""

    kind: Literal["mlp"]
    hidden: list[Count]  # units of each hidden layer
    input_scale: Positive  # points are divided by this before the encoder


class DCGANNetwork(Settings):
    """Convolutional encoder and decoder, symmetric, for images."""

    kind: Literal["dcgan"]
    width: Count  # channels of the layer nearest to the image; doubled by each next one
    depth: Count  # layers of stride 2
    batch_norm: bool


class VAEPretrain(Settings):
    """A variational auto-encoder."""

    kind: Literal["vae"]
    data: str
    seed: Amount
    network: Annotated[MLPNetwork | DCGANNetwork, Field(discriminator="kind")]
    latent: Count  # dimensions of z
    likelihood: Literal["bernoulli", "gaussian"]
    beta: Positive  # weight of the KL term
    optimiser: Optimiser
    plan: Plan

    @model_validator(mode="after")
    def _points_are_gaussian(self) -> VAEPretrain:
        if self.network.kind == "mlp" and self.likelihood != "gaussian":
            raise ValueError("likelihood gaussian: points (network kind mlp) are not in [0, 1]")
        return self
