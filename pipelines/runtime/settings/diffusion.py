"""Settings of denoising diffusion GANs and of their rivals (dissertation, chapter 6)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipelines.runtime.settings.base import (
    Amount,
    Count,
    NonNegative,
    Positive,
    Settings,
    Share,
)
from pipelines.runtime.settings.selecting import SamplesSelect
from pipelines.runtime.settings.training import Optimiser, Plan

Inside = Annotated[float, Field(gt=0.0, lt=1.0)]
"""A share, neither none nor all."""


class VariancePreservingSchedule(Settings):
    """The noise in x_t is that of a variance-preserving SDE at the time t/T (Eq. 6.14)."""

    kind: Literal["variance-preserving"]
    beta_min: Positive
    beta_max: Positive

    @model_validator(mode="after")
    def _grows(self) -> VariancePreservingSchedule:
        if self.beta_min > self.beta_max:
            raise ValueError("beta_min at most beta_max")
        return self


class GeometricSchedule(Settings):
    """The variance of the noise in x_t grows by the same factor at each step."""

    kind: Literal["geometric"]
    smallest: Inside  # in x_1
    largest: Inside  # in x_T

    @model_validator(mode="after")
    def _grows(self) -> GeometricSchedule:
        if self.smallest >= self.largest:
            raise ValueError("smallest below largest")
        return self


class Diffusion(Settings):
    """How data become noise."""

    steps: Count  # T
    schedule: Annotated[VariancePreservingSchedule | GeometricSchedule, Field(discriminator="kind")]


class PointsNetwork(Settings):
    """Fully connected layers with LeakyReLU, for points; conditions stand beside the input."""

    kind: Literal["points"]
    hidden: Annotated[list[Count], Field(min_length=1)]  # units of each hidden layer


class UNetNetwork(Settings):
    """U-Net of the NCSN++ kind, for images (Table 6.6)."""

    kind: Literal["unet"]
    width: Annotated[int, Field(ge=4, multiple_of=4)]  # initial number of channels
    multipliers: Annotated[list[Count], Field(min_length=1)]  # of the width, one for each scale
    blocks: Count  # residual blocks at each scale
    attention: list[Count]  # sides, in pixels, of the maps that attention sees
    progressive: bool  # each scale of the way down sees the image itself too, made smaller
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)]


class LatentUNetNetwork(UNetNetwork):
    """The same with a latent variable, which adaptive group normalisation lets in (Eq. 6.13)."""

    mapping_layers: Count  # from z to w; there is none without a latent variable
    embedding: Count  # size of w
    bounded: bool  # tanh on the way out, for images in [-1, 1]


class ResidualDiscriminator(Settings):
    """Residual blocks that see x_t, x_{t+1} and t (Table 6.7)."""

    kind: Literal["residual"]
    width: Count  # channels of the first layer
    multipliers: Annotated[list[Count], Field(min_length=1)]  # of the width, one for each block
    down: list[bool]  # whether each block halves the side
    embedding: Annotated[int, Field(ge=4, multiple_of=2)]  # size of the time embedding
    # Of what it is shown, neither as published. The items whose deviation it sees together are of
    # one t; a pair's true and generated x_t have the same noise of the posterior.
    groups_of_one_time: bool
    common_noise: bool

    @model_validator(mode="after")
    def _one_for_each_block(self) -> ResidualDiscriminator:
        if len(self.down) != len(self.multipliers):
            raise ValueError(f"down for each of the {len(self.multipliers)} multipliers")
        return self


class Game(Settings):
    """What the discriminator is asked for beside telling pairs apart."""

    gamma: NonNegative  # γ of R1 (Eq. 6.16); 0: none
    r1_every: Count  # updates from one R1 to the next, which counts so many times; 1: always
    # Steps of a diffusion that noises true and generated items before the discriminator sees them,
    # for a generator of one step (Table 6.2, second group); 0: none.
    augmentation: Amount


class DenoisingGANPretrain(Settings):
    """A conditional GAN for each of a few large denoising steps (Algorithms 1 and 2)."""

    kind: Literal["denoising-gan"]
    data: str
    seed: Amount
    network: Annotated[PointsNetwork | LatentUNetNetwork, Field(discriminator="kind")]
    latent: Amount  # dimensions of z; 0: none (Table 6.2, last line)
    diffusion: Diffusion
    # x_0; or, of Table 6.2, x_t itself (direct denoising), or the noise in x_{t+1}.
    predicts: Literal["clean", "previous", "noise"]
    scale: Positive  # points are divided by this; images, which go to [-1, 1], have 1
    discriminator: Annotated[PointsNetwork | ResidualDiscriminator, Field(discriminator="kind")]
    game: Game
    optimiser: Optimiser  # of the generator, whose averaged weights are exported
    discriminator_optimiser: Optimiser
    plan: Plan
    select: SamplesSelect

    @model_validator(mode="after")
    def _parts_go_together(self) -> DenoisingGANPretrain:
        network = self.network
        if (network.kind == "points") != (self.discriminator.kind == "points"):
            raise ValueError("network and discriminator of points, or neither of them")
        if self.game.augmentation and self.diffusion.steps > 1:
            raise ValueError("game.augmentation 0: it is for diffusion.steps 1")
        judge = self.discriminator
        if judge.kind == "residual" and judge.common_noise and self.predicts == "previous":
            raise ValueError("discriminator.common_noise false with predicts previous")
        # x_t and noise are no images in [-1, 1].
        if self.predicts != "clean" and network.kind == "unet" and network.bounded:
            raise ValueError(f"network.bounded false with predicts {self.predicts}")
        _check_scale(network, self.scale)
        return self


class AncestralSampler(Settings):
    """Every step of the diffusion (Eq. 6.7)."""

    kind: Literal["ancestral"]


class DDIMSampler(Settings):
    """Some of the steps (Song et al., https://arxiv.org/abs/2010.02502)."""

    kind: Literal["ddim"]
    steps: Count
    eta: Share  # noise of a step: 0 none, 1 that of ancestral ones


class ODESampler(Settings):
    """The probability flow, by dopri5."""

    kind: Literal["ode"]
    tolerance: Positive


DiffusionSampler = Annotated[
    AncestralSampler | DDIMSampler | ODESampler, Field(discriminator="kind")
]


class DDPMPretrain(Settings):
    """A diffusion model of many small steps, which predicts noise (2.4)."""

    kind: Literal["ddpm"]
    data: str
    seed: Amount
    network: Annotated[PointsNetwork | UNetNetwork, Field(discriminator="kind")]
    diffusion: Diffusion
    scale: Positive  # points are divided by this; images, which go to [-1, 1], have 1
    sampler: DiffusionSampler  # where no other is given; validations sample by it
    optimiser: Optimiser
    plan: Plan
    select: SamplesSelect

    @model_validator(mode="after")
    def _scale_is_of_points(self) -> DDPMPretrain:
        _check_scale(self.network, self.scale)
        return self


class NonSaturatingObjective(Settings):
    """Eq. 6.3 and 6.5 without diffusion: a vanilla GAN."""

    kind: Literal["non-saturating"]


class WassersteinObjective(Settings):
    """WGAN-GP (https://arxiv.org/abs/1704.00028)."""

    kind: Literal["wasserstein"]
    penalty: NonNegative  # λ of the gradient penalty
    critic_steps: Count  # updates of the critic in a step, each on its own part of the batch


class GANPretrain(Settings):
    """A generator of points from a latent variable alone (rivals of Figure 6.9)."""

    kind: Literal["gan"]
    data: str
    seed: Amount
    network: PointsNetwork
    latent: Count  # dimensions of z
    scale: Positive  # points are divided by this
    discriminator: PointsNetwork
    objective: Annotated[NonSaturatingObjective | WassersteinObjective, Field(discriminator="kind")]
    optimiser: Optimiser  # of the generator, whose averaged weights are exported
    discriminator_optimiser: Optimiser
    plan: Plan
    select: SamplesSelect


def _check_scale(network: PointsNetwork | UNetNetwork, scale: float) -> None:
    if network.kind == "unet" and scale != 1.0:
        raise ValueError("scale 1: images are stretched to [-1, 1]")
