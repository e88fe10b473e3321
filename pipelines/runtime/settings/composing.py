"""Settings of compositions: energies and their negative phase."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pipelines.runtime.settings.base import Amount, Count, NonNegative, Positive, Settings, Share
from pipelines.runtime.settings.selecting import Select
from pipelines.runtime.settings.training import Optimiser, Plan

Normalisation = Literal["none", "weight", "spectral"]


class Langevin(Settings):
    """Langevin dynamics: state - step_size/2 · gradient + √(step_size · temperature) · noise."""

    steps: Count  # NFE of a chain
    step_size: Positive  # η of Eq. 5.3
    noise_scale: NonNegative  # extra factor on the noise; 1: the law of Eq. 5.3
    temperature: NonNegative  # T of Eq. 1.15: the chain's law is exp(-U / T)
    metropolis: bool  # accept or reject each step (MALA)
    step_size_max: Positive | None  # η is drawn anew from [step_size, this]; Metropolis only
    drift_limit: Positive | None  # longest drift in deviations of the noise; Metropolis only
    precision: Literal["float32", "bfloat16"]  # of the energy's and the base's networks in a chain


class Replay(Settings):
    """Persistent chains: a buffer of ε_z; ε_x is always fresh."""

    size: Count  # chains kept, on each worker
    probability: Share  # of starting from the buffer, once annealed
    anneal_steps: Amount  # steps over which the probability rises from 0


class WarmStart(Settings):
    """Noise-contrastive fit of the energy to the ratio of data and base samples (Eq. 1.12)."""

    steps: Count
    learning_rate: Positive
    normaliser: bool  # learned beside f; an energy that cannot be negative needs it


class FullyConnectedEnergyNetwork(Settings):
    """Multi-layer perceptron on points, Swish."""

    kind: Literal["fully-connected"]
    hidden: list[Count]
    input_scale: Positive  # points are divided by this
    fourier: list[Positive]  # deviation of each group of random frequencies, radians; []: none
    fourier_count: Count  # frequencies in a group
    normalisation: Normalisation


class ConvEnergyNetwork(Settings):
    """Convolutions with Swish, flatten, one linear layer (Table 5.2)."""

    kind: Literal["conv"]
    width: Count  # filters, nf of the table
    multipliers: list[Count]  # of the width, one a layer; the first has stride 1, the others 2
    normalisation: Normalisation


class StridedEnergyNetwork(Settings):
    """As `conv`, every layer strided: a fraction of the work."""

    kind: Literal["strided"]
    filters: list[Count]  # one a layer
    kernel: Count  # pixels
    stride: Count  # pixels, of every layer
    normalisation: Normalisation
    head: Literal["linear", "quadratic"]  # quadratic: bounded below, f ≥ 0
    guard: NonNegative  # price of a squared standard deviation of a feature from data, 2 × nats


class ResidualEnergyNetwork(Settings):
    """Residual blocks with Swish, global sum pooling, one linear layer (Table 4.9)."""

    kind: Literal["residual"]
    layout: str | list[str]  # a name of components.networks.energy_residual, or its rows
    normalisation: Normalisation


EnergyNetwork = Annotated[
    FullyConnectedEnergyNetwork | ConvEnergyNetwork | StridedEnergyNetwork | ResidualEnergyNetwork,
    Field(discriminator="kind"),
]


class VAEBMCompose(Settings):
    """An energy-based model on a frozen VAE (dissertation, 4.3.2)."""

    kind: Literal["vaebm"]
    base: str
    data: str
    seed: Amount
    energy: EnergyNetwork
    space: Literal["noise", "data"]  # chains over (ε_x, ε_z), Eq. 4.19, or over (x, z)
    langevin: Langevin
    replay: Replay | None
    energy_magnitude: NonNegative  # coefficient of the mean of f² over data and chains
    spectral_penalty: NonNegative  # coefficient of the sum of the layers' spectral norms
    warm_start: WarmStart | None
    max_gap: Positive  # mean energy of chains over that of data that counts as run away
    optimiser: Optimiser
    plan: Plan
    select: Select
