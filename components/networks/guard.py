"""Energies with a guard: a price for features that data do not have."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn

Moments = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


class FeatureGuard(nn.Module):
    """λ/2 · Σ_j (φ_j - μ_j)²/σ_j², with the running moments of the data's features.

    The negative phase of a tilt sees what the base can make and nothing else. Beyond that an
    energy is what its network extrapolates: what is farther from the base than data are, as digits
    are sharper than clothes, comes out likelier than data. A normal density of the features, in
    the manner of Lee et al. 2018 (https://arxiv.org/abs/1807.03888), is highest at the data
    whatever was seen.

    Args:
        features: F.
        strength: λ; the guard of data is λF/2 on average.
        momentum: share of a new batch in the running moments.
    """

    FLOOR = 1e-4
    """Added to the variances, for features that are switched off."""

    mean: Tensor
    variance: Tensor
    batches: Tensor

    def __init__(self, features: int, strength: float, momentum: float = 0.1) -> None:
        super().__init__()
        self.strength, self.momentum = strength, momentum
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("variance", torch.ones(features))
        self.register_buffer("batches", torch.zeros(()))

    def forward(self, features: Tensor) -> Tensor:
        """Map N×F to N, each 0 or more, float32 even under autocast."""
        with torch.autocast(features.device.type, enabled=False):
            deviations = (features.float() - self.mean).square() / (self.variance + self.FLOOR)
            price: Tensor = 0.5 * self.strength * deviations.sum(dim=1)
        return price

    @torch.no_grad()
    def follow(self, features: Tensor, moments: Moments) -> None:
        """Move the running moments towards those of a batch; the first batch sets them.

        Args:
            features: of data, N×F.
            moments: agrees mean and variance between workers.
        """
        variance, mean = torch.var_mean(features.float(), dim=0, correction=0)
        mean, variance = moments(mean, variance)
        share = torch.where(self.batches == 0.0, 1.0, self.momentum)
        self.mean.lerp_(mean, share)
        self.variance.lerp_(variance, share)
        self.batches += 1.0


class GuardedEnergy(nn.Module):
    """f(x) = g(x) + guard(φ(x)), where g = head ∘ φ is what learns.

    Chains, samples and scores see f. Losses see g alone (`learned_energy`): the guard's dependence
    on the parameters of φ is left out of the gradient on purpose, since with it the features
    become a second discriminator, without bound, and the samples get worse as training goes on.

    Attributes:
        head: features to energies.
        guard: None: f = g.
    """

    head: nn.Module
    guard: FeatureGuard | None

    @abstractmethod
    def features(self, items: Tensor) -> Tensor:
        """φ: items to N×F."""

    def forward(self, items: Tensor) -> Tensor:
        """Map items to their N energies, float32."""
        features = self.features(items)
        energies: Tensor = self.head(features)
        return energies if self.guard is None else energies + self.guard(features)

    def learned(self, items: Tensor) -> Tensor:
        """g(x), N."""
        energies: Tensor = self.head(self.features(items))
        return energies

    @torch.no_grad()
    def follow(self, items: Tensor, moments: Moments) -> None:
        """Let the guard follow the features of a batch of data (see `FeatureGuard.follow`)."""
        if self.guard is not None:
            self.guard.follow(self.features(items), moments)


def learned_energy(energy: nn.Module, items: Tensor) -> Tensor:
    """Energies as losses see them: f(x), less its guard where it has one, N."""
    if isinstance(energy, GuardedEnergy) and energy.guard is not None:
        return energy.learned(items)
    energies: Tensor = energy(items)
    return energies
