"""Do chains mix? R-hat over parallel chains, autocorrelation and effective sample size.

Gelman and Rubin 1992 (doi:10.1214/ss/1177011136) with split chains, and the effective sample size
of several chains, both as in Vehtari et al., https://arxiv.org/abs/1903.08008, Eq. 1 to 4 and 10
to 13, without ranks. Numbers followed along chains are S×N×...: S kept steps of N chains, each of
any shape; results have that shape. Chains that stand still have no variance: nan, or infinite where
they stand still at different places.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def split_r_hat(draws: Tensor) -> Tensor:
    """√(total variance / variance within chains), each chain cut in two halves.

    Near 1 for chains that have forgotten where they began, above 1.01 where they have not; chains
    that are each caught in a mode of their own have values far above.

    Args:
        draws: S×N×..., S at least 4; of an odd number the first is left out.

    Raises:
        ValueError: fewer than 4 steps.
    """
    within, total = _variances(_halves(draws))
    return (total / within).sqrt()


def autocorrelation(draws: Tensor) -> Tensor:
    """Correlation of a number with itself, t kept steps later, by all chains together.

    1 - (W - mean of the chains' autocovariances) / var⁺: what chains disagree about counts as
    correlation that never ends.

    Args:
        draws: S×N×..., S at least 4.

    Returns:
        S×...: lags 0 to S - 1, of which the late ones are mostly noise.

    Raises:
        ValueError: fewer than 4 steps.
    """
    _long_enough(draws)
    within, total = _variances(draws)
    correlation = 1.0 - (within - _autocovariances(draws).mean(dim=1)) / total
    # A lag of 0 is what it is, the bias of an autocovariance over S instead of S - 1 aside.
    correlation[0] = torch.where(total > 0.0, 1.0, torch.nan)
    return correlation


def effective_sample_size(draws: Tensor) -> Tensor:
    """How many independent draws would know the mean as well as these S·N do.

    S·N / τ with τ = 1 + 2 Σ ρ_t, cut where the sum of two neighbouring autocorrelations is no
    longer positive, and those sums kept from rising (Geyer 1992, doi:10.1214/ss/1177011137); of the
    first pair left out a positive even lag still counts, which chains that alternate need. Chains
    are split as for `split_r_hat`.

    Args:
        draws: S×N×..., S at least 8.

    Returns:
        At most S·N·log₁₀(S·N): alternating chains can know more than independent draws.

    Raises:
        ValueError: fewer than 8 steps.
    """
    halves = _halves(draws, least=8)
    count = halves.shape[0] * halves.shape[1]
    correlation = autocorrelation(halves)
    pairs = correlation[: len(correlation) // 2 * 2].unflatten(0, (-1, 2))
    sums, even = pairs.sum(dim=1), pairs[:, 0]
    kept = (sums > 0.0).cumprod(dim=0)
    first_left_out = torch.cat([torch.ones_like(kept[:1]), kept[:-1]]) - kept
    time = 2.0 * (sums.cummin(dim=0).values * kept).sum(dim=0) - 1.0
    time += (even.clamp_min(0.0) * first_left_out).sum(dim=0)
    size = count / time.clamp_min(1.0 / math.log10(count))
    return size.masked_fill(correlation[0].isnan(), torch.nan)


def _long_enough(draws: Tensor, least: int = 4) -> None:
    if len(draws) < least:
        raise ValueError(f"chains of {least} kept steps or more are needed, not {len(draws)}")


def _halves(draws: Tensor, least: int = 4) -> Tensor:
    """Split N chains of S steps into 2N of S // 2."""
    _long_enough(draws, least)
    half = len(draws) // 2
    late = draws[len(draws) - 2 * half :].double()
    return torch.cat([late[:half], late[half:]], dim=1)


def _variances(draws: Tensor) -> tuple[Tensor, Tensor]:
    """W and var⁺: the mean variance within chains, and an estimate of the whole variance."""
    draws, steps = draws.double(), len(draws)
    within = draws.var(dim=0).mean(dim=0)
    means = draws.mean(dim=0)
    between = means.var(dim=0) if len(means) > 1 else torch.zeros_like(within)
    return within, within * (steps - 1) / steps + between


def _autocovariances(draws: Tensor) -> Tensor:
    """Of each chain at lags 0 to S - 1, over S: S×N×..., by the fast Fourier transform."""
    centred = draws.double() - draws.double().mean(dim=0)
    steps = len(centred)
    # Twice as long with zeros, or the end would be correlated with the beginning.
    spectrum = torch.fft.rfft(centred, n=2 * steps, dim=0)
    power = torch.view_as_real(spectrum).square().sum(dim=-1)
    return torch.fft.irfft(power, n=2 * steps, dim=0)[:steps] / steps
