"""What Langevin chains of any energy do when they are run on: does the short run converge?

Short-run chains stop where they have been trained to stop, far from the law exp(-U) that they are
named after (dissertation, section 5.1 and Figure 5.1; Nijkamp et al.,
https://arxiv.org/abs/1904.09770, https://arxiv.org/abs/1903.12370). Any potential and state that
`components.samplers.langevin` takes will do: an EBM's energy of images, or a VAEBM's
`noise_potential` of (ε_x, ε_z).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import torch
from torch import Tensor

from components.errors import UserError
from components.metrics.mixing import autocorrelation, effective_sample_size, split_r_hat
from components.samplers.field import State
from components.samplers.langevin import LangevinSettings, langevin

S = TypeVar("S", bound=State)


@dataclass(frozen=True)
class Diagnosis(Generic[S]):
    """What N chains did over m·K steps, K being the steps of training.

    R-hat, autocorrelation and effective sample size are of the second half of the kept steps: the
    way from the start is not held against the chains. The first number followed is the energy.

    Attributes:
        steps: S numbers of kept steps, from 0.
        energies: U at the kept steps, S×N, float64.
        r_hat: 1 + P, of the energy and of the P numbers observed.
        effective: 1 + P, effective sample sizes, of `draws` in all.
        correlation: autocorrelation of the energy, at lags of 0, 1, ... kept steps.
        draws: number of energies that these measures are of.
        stages: the states after K, m₁·K, m₂·K, ... steps.
        displacement: how far chains are from where they were after K steps, root mean square per
            number of the state, one for each later stage.
    """

    steps: list[int]
    energies: Tensor
    r_hat: Tensor
    effective: Tensor
    correlation: Tensor
    draws: int
    stages: list[S]
    displacement: list[float]


def diagnose(
    potential: Callable[[S], Tensor],
    start: S,
    settings: LangevinSettings,
    generator: torch.Generator,
    multiples: Sequence[int],
    every: int = 1,
    observe: Callable[[S], Tensor] | None = None,
) -> Diagnosis[S]:
    """Run chains for longer than in training. Wrap the call in `frozen(...)`.

    Args:
        potential: U, a state to N values.
        start: as training starts its chains, N of them.
        settings: of the chains in training; K is their `steps`.
        generator: of the chains' noise.
        multiples: m₁ < m₂ < ..., at least 2: the chains run for the last of them times K.
        every: steps between kept ones; all kept states are held at once.
        observe: further numbers to follow, a state to N×P: coordinates of points, projections of
            images.

    Returns:
        What the chains did. Distances between the items of its stages say how a distribution
        drifts; a model whose chains converge has none beyond the noise of the samples.

    Raises:
        UserError: multiples that do not rise from 2, or too few kept steps.
    """
    rising = all(low < high for low, high in zip([1, *multiples], multiples, strict=False))
    if not multiples or not rising:
        raise UserError(f"multiples must rise from 2 or more, not {list(multiples)}")
    total = multiples[-1] * settings.steps
    followed = list(range(0, total + 1, every))
    late = len(followed) // 2
    if len(followed) - late < 8:
        raise UserError(f"{total} steps of which every {every} is kept are too few to be judged")
    ends = [settings.steps, *(multiple * settings.steps for multiple in multiples)]
    keep = sorted({*followed, *ends})
    chain = langevin(potential, start, replace(settings, steps=total), generator, keep)
    kept = dict(zip(keep, chain.kept, strict=True))
    with torch.no_grad():
        energies = torch.stack([potential(kept[step]).double() for step in followed])
        numbers = energies[late:].unsqueeze(2)
        if observe is not None:
            seen = torch.stack([observe(kept[step]).double() for step in followed[late:]])
            numbers = torch.cat([numbers, seen], dim=2)
    stages = [kept[step] for step in ends]
    return Diagnosis(
        steps=followed,
        energies=energies,
        r_hat=split_r_hat(numbers),
        effective=effective_sample_size(numbers),
        correlation=autocorrelation(energies[late:]),
        draws=energies[late:].numel(),
        stages=stages,
        displacement=[_displacement(stages[0], stage) for stage in stages[1:]],
    )


def metropolis_acceptance(
    potential: Callable[[S], Tensor],
    state: S,
    settings: LangevinSettings,
    generator: torch.Generator,
) -> float:
    """Share of the chain's moves that Metropolis adjustment would accept, in [0, 1].

    Near 1 where the discretised chain keeps the law exp(-U / τ); near 0 where its moves are too
    coarse for it, whatever its samples look like.

    Args:
        potential: U.
        state: where the chains are.
        settings: of the chains; their own temperature and noise make τ.
        generator: of the moves.

    Raises:
        UserError: chains without noise.
    """
    chain = langevin(potential, state, replace(settings, metropolis=True), generator)
    assert chain.acceptance_rate is not None
    return float(chain.acceptance_rate.mean())


def drift(items: Sequence[Tensor], distance: Callable[[Tensor, Tensor], float]) -> list[float]:
    """Distances of the later stages' items from the first's.

    Args:
        items: of the stages of a `Diagnosis`, each N×shape.
        distance: between two sets of items, such as `sliced_wasserstein`.
    """
    return [distance(items[0], later) for later in items[1:]]


def _displacement(first: State, second: State) -> float:
    pairs = zip(
        first if isinstance(first, tuple) else (first,),
        second if isinstance(second, tuple) else (second,),
        strict=True,
    )
    squares = torch.cat([(b - a).double().square().flatten(1) for a, b in pairs], dim=1)
    return float(squares.mean().sqrt())
