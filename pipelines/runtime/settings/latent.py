"""Settings of generative latent flow and its rivals (dissertation, chapter 3)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipelines.runtime.settings.base import Amount, Count, Positive, Settings
from pipelines.runtime.settings.selecting import FrechetSelect, LastSelect
from pipelines.runtime.settings.training import DCGANNetwork, Optimiser, Plan


class InfoGANNetwork(Settings):
    """Encoder and decoder of Table 3.6, for images whose side is a multiple of 4."""

    kind: Literal["infogan"]
    width: Count  # channels of the layer nearest to the image, 64 in the table; the next has twice
    hidden: Count  # units of the fully connected layer, 1024 in the table


class PointPosterior(Settings):
    """An encoder without noise, as in an auto-encoder: q(z|x) is a point."""

    kind: Literal["point"]


class GaussianPosterior(Settings):
    """A Gaussian of independent dimensions, as in a VAE."""

    kind: Literal["gaussian"]


class FlowPosterior(Settings):
    """A Gaussian sent through affine coupling blocks."""

    kind: Literal["flow"]
    blocks: Count  # affine coupling blocks, of alternating masks
    hidden: Count  # k, units of each layer


class NoPrior(Settings):
    """Nothing to sample from yet: a composition fits its prior later."""

    kind: Literal["none"]


class NormalPrior(Settings):
    """Standard normal."""

    kind: Literal["normal"]


class FlowPrior(Settings):
    """RealNVP: noise to latents by affine coupling blocks (2.2.2)."""

    kind: Literal["flow"]
    blocks: Count  # affine coupling blocks, of alternating masks
    hidden: Count  # k, units of each of a block's three fully connected layers


class VAEPrior(Settings):
    """A second VAE, on the latents (Dai and Wipf, https://arxiv.org/abs/1903.05789)."""

    kind: Literal["vae"]
    hidden: list[Count]  # units of each hidden layer


class MixturePrior(Settings):
    """Gaussians of full covariance, fitted to all training latents by scikit-learn."""

    kind: Literal["mixture"]
    components: Count
    rounds: Count  # of expectation and maximisation, at the most


Weight = Positive | Literal["learned"]
"""β of Eq. 3.2, of the reconstruction; `learned`: 1/σ² of a Gaussian decoder (Dai and Wipf)."""


class PixelReconstruction(Settings):
    """A sum over pixels: ½‖x − x̂‖², or cross-entropy."""

    kind: Literal["squared", "bernoulli"]
    weight: Weight

    @model_validator(mode="after")
    def _only_a_gaussian_learns_its_variance(self) -> PixelReconstruction:
        if self.weight == "learned" and self.kind != "squared":
            raise ValueError("a number: only the kind `squared` has a variance to learn")
        return self


class PerceptualReconstruction(Settings):
    """Pixels and features of a frozen network (last rows of Table 3.1)."""

    kind: Literal["perceptual"]
    weight: Positive  # β
    features: Literal["vgg", "classifier"]  # VGG-16, or the data set's own classifier
    vgg_weights: str | None  # path of torchvision's state dict; null: its download


class NoPenalty(Settings):
    """Latents may be anywhere."""

    kind: Literal["none"]


class NormPenalty(Settings):
    """Regularised auto-encoder: weight · ‖z‖² (3.4.4)."""

    kind: Literal["norm"]
    weight: Positive  # γ; 0.5 in the dissertation, which is RAE's ½‖z‖²


class MMDPenalty(Settings):
    """WAE-MMD: distance of the latents from the standard normal by a kernel."""

    kind: Literal["mmd"]
    weight: Positive  # λ


class GANPenalty(Settings):
    """WAE-GAN: an adversary tells the latents from the standard normal."""

    kind: Literal["gan"]
    weight: Positive  # λ
    hidden: list[Count]  # units of each of the discriminator's hidden layers
    optimiser: Optimiser  # the discriminator's


class LatentPretrain(Settings):
    """An auto-encoder with, or without, a prior of its latents."""

    kind: Literal["latent"]
    data: str
    seed: Amount
    network: Annotated[InfoGANNetwork | DCGANNetwork, Field(discriminator="kind")]
    latent: Count  # dimensions of z
    posterior: Annotated[
        PointPosterior | GaussianPosterior | FlowPosterior, Field(discriminator="kind")
    ]
    prior: Annotated[NoPrior | NormalPrior | FlowPrior, Field(discriminator="kind")]
    reconstruction: Annotated[
        PixelReconstruction | PerceptualReconstruction, Field(discriminator="kind")
    ]
    stop_gradient: bool  # true: Eq. 3.7, the prior's loss does not move the encoder; false: Eq. 3.5
    penalty: Annotated[
        NoPenalty | NormPenalty | MMDPenalty | GANPenalty, Field(discriminator="kind")
    ]
    optimiser: Optimiser  # the auto-encoder's
    prior_optimiser: Optimiser | None  # the flow prior's; null without one
    plan: Plan
    select: Annotated[LastSelect | FrechetSelect, Field(discriminator="kind")]

    @model_validator(mode="after")
    def _parts_go_together(self) -> LatentPretrain:
        point, prior = self.posterior.kind == "point", self.prior.kind
        matched = self.penalty.kind in ("mmd", "gan")
        if self.stop_gradient and not (point and prior == "flow"):
            raise ValueError("stop_gradient false, but for a point posterior with a flow prior")
        if not point and prior == "none":
            raise ValueError("prior normal or flow: a posterior with noise needs one")
        if not point and self.penalty.kind != "none":
            raise ValueError("penalty none: the KL divergence holds noisy latents already")
        if point and matched != (prior == "normal"):
            raise ValueError("penalty mmd or gan with a point posterior and a normal prior only")
        if (self.prior_optimiser is not None) != (prior == "flow"):
            raise ValueError("prior_optimiser for a flow prior, null for any other")
        if self.select.kind != "last" and prior == "none":
            raise ValueError("select last: without a prior there are no samples to choose by")
        return self


class LatentCompose(Settings):
    """A prior on the latents of a frozen auto-encoder or VAE: the second of two stages."""

    kind: Literal["latent-prior"]
    base: str
    data: str
    seed: Amount
    prior: Annotated[FlowPrior | VAEPrior | MixturePrior, Field(discriminator="kind")]
    optimiser: Optimiser | None  # null for a mixture
    plan: Plan
    select: Annotated[LastSelect | FrechetSelect, Field(discriminator="kind")]

    @model_validator(mode="after")
    def _a_mixture_is_fitted_at_once(self) -> LatentCompose:
        mixture = self.prior.kind == "mixture"
        if (self.optimiser is None) != mixture:
            raise ValueError("optimiser null for a mixture, which is fitted without; else settings")
        if mixture and self.plan.steps != 1:
            raise ValueError("plan.steps 1 for a mixture, which is fitted to all latents at once")
        return self
