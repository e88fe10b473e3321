"""The diffusion of data into noise in T steps, and its posterior (dissertation, 2.4 and 6.3.3).

q(x_t|x_{t-1}) = N(√(1-β_t) x_{t-1}, β_t I) (Eq. 2.44), so that q(x_t|x_0) = N(√ᾱ_t x_0, (1-ᾱ_t) I)
(Eq. 2.46). How much noise there is at t/T does not depend on T: few steps are large ones.
Ho et al., https://arxiv.org/abs/2006.11239; Song et al., https://arxiv.org/abs/2011.13456.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from components.errors import UserError


@dataclass(frozen=True)
class DiffusionSettings:
    """How data become noise.

    Attributes:
        steps: T, 1 or more.
        schedule: ``variance-preserving``: 1 - ᾱ_t is σ²(t/T) of Eq. 6.14; ``geometric``: 1 - ᾱ_t
            grows by the same factor at each step, from ``smallest`` at t = 1 to ``largest`` at T.
        beta_min: of Eq. 6.14.
        beta_max: of Eq. 6.14, no less than beta_min.
        smallest: 1 - ᾱ_1 of the geometric schedule.
        largest: 1 - ᾱ_T of the geometric schedule, below 1.

    Raises:
        UserError: a value is out of its range.
    """

    steps: int
    schedule: Literal["variance-preserving", "geometric"] = "variance-preserving"
    beta_min: float = 0.1
    beta_max: float = 20.0
    smallest: float = 1e-2
    largest: float = 0.9999

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise UserError(f"a diffusion has 1 step or more, not {self.steps}")
        if self.schedule not in ("variance-preserving", "geometric"):
            raise UserError(
                f"unknown schedule {self.schedule!r}; known: variance-preserving, geometric"
            )
        if not 0.0 < self.beta_min <= self.beta_max < math.inf:
            raise UserError("a diffusion needs 0 < beta_min <= beta_max")
        if not 0.0 < self.smallest < self.largest < 1.0:
            raise UserError("a geometric diffusion needs 0 < smallest < largest < 1")

    def variances(self) -> Tensor:
        """1 - ᾱ_t for t = 0, ..., T: float64, T+1 numbers that grow from 0 to nearly 1."""
        if self.schedule == "variance-preserving":
            time = torch.arange(self.steps + 1, dtype=torch.float64) / self.steps
            growth = 0.5 * (self.beta_max - self.beta_min)
            return -torch.expm1(-self.beta_min * time - growth * time.square())
        if self.steps == 1:
            return torch.tensor([0.0, self.largest], dtype=torch.float64)
        share = torch.arange(self.steps, dtype=torch.float64) / (self.steps - 1)
        later = self.smallest * (self.largest / self.smallest) ** share
        return torch.cat([later.new_zeros(1), later])


class DiffusionProcess(nn.Module):
    """What `DiffusionSettings` say, as coefficients that are looked up by step.

    Times are long tensors of N. Of a pair (x_t, x_{t+1}) t runs from 0 to T-1, and is what networks
    are told; of a single x_t from 0, the data, to T.

    Args:
        settings: of the schedule.

    Attributes:
        settings: the same.
        signal: √ᾱ_t, T+1 numbers.
        noise: √(1 - ᾱ_t), T+1 numbers.
    """

    signal: Tensor
    noise: Tensor
    kept: Tensor
    added: Tensor
    of_clean: Tensor
    of_next: Tensor
    spread: Tensor

    def __init__(self, settings: DiffusionSettings) -> None:
        super().__init__()
        self.settings = settings
        variance = settings.variances()
        alpha_bar = 1.0 - variance
        alpha = alpha_bar[1:] / alpha_bar[:-1]
        beta = 1.0 - alpha
        # Eq. 2.51, whose second coefficient has √ᾱ_t in print where Bayes' rule gives √α_t.
        found = {
            "signal": alpha_bar.sqrt(),
            "noise": variance.sqrt(),
            "kept": alpha.sqrt(),
            "added": beta.sqrt(),
            "of_clean": alpha_bar[:-1].sqrt() * beta / variance[1:],
            "of_next": alpha.sqrt() * variance[:-1] / variance[1:],
            "spread": (beta * variance[:-1] / variance[1:]).sqrt(),
        }
        # The settings say all of it: nothing to be saved.
        for name, values in found.items():
            self.register_buffer(name, values.float(), persistent=False)

    @property
    def steps(self) -> int:
        """T."""
        return self.settings.steps

    def times(self, count: int, generator: torch.Generator, group: int = 1) -> Tensor:
        """Draw t of a pair for N items, uniformly from 0, ..., T-1 (Algorithm 1, line 1).

        Args:
            count: N, a multiple of group.
            generator: source of the times.
            group: above 1 items i, i + N/group, i + 2N/group, ... have one t, and all t are as
                often as whole groups let them be.
        """
        if group == 1:
            return torch.randint(self.steps, (count,), generator=generator, device=generator.device)
        # One shift of a ladder whose rungs are alike: uniform for each item, even over all of them.
        groups = count // group
        shift = torch.randint(
            groups * self.steps, (1,), generator=generator, device=generator.device
        )
        ladder = torch.arange(groups, device=generator.device) * self.steps
        return ((ladder + shift) // groups % self.steps).repeat(group)

    def diffuse(self, clean: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """x_t of x_0 (Eq. 2.46).

        Args:
            clean: x_0, N×....
            t: 0, ..., T, N.
            noise: standard normal, as x_0.
        """
        return _at(self.signal, t, clean) * clean + _at(self.noise, t, clean) * noise

    def pair(self, clean: Tensor, t: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """x_t and x_{t+1} of x_0, jointly (Eq. 2.46, then 2.44).

        Args:
            clean: x_0, N×....
            t: 0, ..., T-1, N.
            generator: source of both steps' noise.
        """
        now = self.diffuse(clean, t, _normal(clean, generator))
        return now, self.further(now, t, _normal(clean, generator))

    def pair_by_posterior(
        self, clean: Tensor, t: Tensor, noise: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """x_t and x_{t+1} of the law of `pair`, x_{t+1} first (Eq. 2.46, then 2.50).

        Args:
            clean: x_0, N×....
            t: 0, ..., T-1, N.
            noise: the posterior's, as x_0.
            generator: source of the noise in x_{t+1}.
        """
        after = self.diffuse(clean, t + 1, _normal(clean, generator))
        return self.posterior(clean, after, t, noise), after

    def further(self, now: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """x_{t+1} of x_t (Eq. 2.44)."""
        return _at(self.kept, t, now) * now + _at(self.added, t, now) * noise

    def posterior(self, clean: Tensor, after: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """x_t given x_0 and x_{t+1} (Eq. 2.50, 2.51); for t = 0 it is x_0.

        Args:
            clean: x_0, N×....
            after: x_{t+1}, N×....
            t: 0, ..., T-1, N.
            noise: standard normal, as x_0.
        """
        mean = _at(self.of_clean, t, clean) * clean + _at(self.of_next, t, clean) * after
        return mean + _at(self.spread, t, clean) * noise

    def clean_from(self, noise: Tensor, after: Tensor, t: Tensor) -> Tensor:
        """x_0 of x_{t+1} if the noise in it is known (Eq. 6.9)."""
        following = t + 1
        return (after - _at(self.noise, following, after) * noise) / _at(
            self.signal, following, after
        )


def _at(values: Tensor, t: Tensor, like: Tensor) -> Tensor:
    """values[t], N, of a shape that multiplies N×...."""
    return values[t].view(-1, *[1] * (like.dim() - 1))


def _normal(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.empty_like(like).normal_(generator=generator)
