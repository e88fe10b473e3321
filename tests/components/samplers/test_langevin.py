"""Chains against laws that are known in closed form."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from components.errors import UserError
from components.samplers.frozen import frozen
from components.samplers.langevin import LangevinSettings, langevin

CHAINS = 100_000
# The variance of 100,000 normal numbers has a relative standard error of 0.45 %.


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=seeded(seed))


def gaussian_energy(deviation: float):
    """U = |x|²/(2s²), whose target at temperature 1 is N(0, s²)."""
    return lambda x: x.square().sum(1) / (2.0 * deviation**2)


def discrete_variance(s: float, step_size: float, scale: float, steps: int) -> float:
    """Variance of the unadjusted chain from N(0, 1) for U = x²/(2s²).

    An AR(1) process, x ← a·x + √η·scale·ω with a = 1 − η/(2s²).
    """
    a = 1.0 - step_size / (2.0 * s**2)
    return a ** (2 * steps) + step_size * scale**2 * (1.0 - a ** (2 * steps)) / (1.0 - a**2)


@pytest.mark.parametrize("steps", [1, 4, 60])
@pytest.mark.parametrize(("temperature", "noise_scale"), [(1.0, 1.0), (0.5, 1.0), (2.0, 0.3)])
def test_unadjusted_chain_has_the_law_of_its_recursion(steps, temperature, noise_scale):
    settings = LangevinSettings(steps, 0.4, noise_scale=noise_scale, temperature=temperature)
    chain = langevin(gaussian_energy(0.7), normal(CHAINS, 1), settings, seeded())
    scale = math.sqrt(temperature) * noise_scale
    assert chain.state.var().item() == pytest.approx(
        discrete_variance(0.7, 0.4, scale, steps), rel=0.02
    )


def test_noise_free_descent_is_a_contraction():
    x = normal(10, 3)
    chain = langevin(gaussian_energy(1.0), x, LangevinSettings(5, 0.2, noise_scale=0.0), seeded())
    torch.testing.assert_close(chain.state, x * 0.9**5)


def test_annealed_step_sizes_are_used_in_turn():
    x = normal(10, 3)
    settings = LangevinSettings(3, 1.0, temperature=0.0)
    chain = langevin(gaussian_energy(1.0), x, settings, seeded(), step_sizes=[0.4, 0.2, 1.0])
    torch.testing.assert_close(chain.state, x * (0.8 * 0.9 * 0.5))


def test_metropolis_is_exact_where_the_unadjusted_chain_is_biased():
    start = normal(CHAINS, 1)
    plain = langevin(gaussian_energy(1.0), start, LangevinSettings(40, 1.5), seeded())
    settings = LangevinSettings(40, 1.5, metropolis=True)
    adjusted = langevin(gaussian_energy(1.0), start * 0.5, settings, seeded())
    assert plain.state.var().item() == pytest.approx(1.6, rel=0.02)
    assert adjusted.state.var().item() == pytest.approx(1.0, rel=0.02)
    assert 0.5 < adjusted.acceptance_rate.mean() < 0.99


@pytest.mark.parametrize(("temperature", "noise_scale"), [(1.0, 1.0), (2.0, 0.5)])
def test_metropolis_targets_the_tempered_law_of_a_quartic(temperature, noise_scale):
    """For exp(−x⁴/(4τ)), E x² = 2√τ Γ(3/4)/Γ(1/4)."""
    settings = LangevinSettings(60, 0.5, noise_scale, temperature, metropolis=True)
    chain = langevin(
        lambda x: x.pow(4).sum(1) / 4.0, normal(CHAINS // 4, 3) * 0.5, settings, seeded()
    )
    tau = temperature * noise_scale**2
    expected = 2.0 * math.sqrt(tau) * math.gamma(0.75) / math.gamma(0.25)
    assert chain.state.square().mean().item() == pytest.approx(expected, rel=0.02)


def test_metropolis_respects_a_wall():
    """For exp(−x^1.5) on x > 0, E x = Γ(4/3)/Γ(2/3); past the wall the gradient is nan."""

    def energy(x: Tensor) -> Tensor:
        return torch.where(x > 0.0, x.pow(1.5), math.inf).squeeze(1)

    settings = LangevinSettings(60, 0.5, metropolis=True)
    chain = langevin(energy, normal(CHAINS, 1).abs() * 0.3, settings, seeded())
    assert chain.state.min() > 0.0
    expected = math.gamma(4.0 / 3.0) / math.gamma(2.0 / 3.0)
    assert chain.state.mean().item() == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("metropolis", [False, True])
def test_tilted_gaussian_in_noise_space(metropolis):
    """Section 4.3.3 where all is known: base x = 1 + 2ε, energy f(x) = λ(x − m)²/2.

    The tilted law p(x) ∝ N(x; 1, 4) exp(−f(x)) is Gaussian, of precision 1/4 + λ.
    """
    strength, m = 0.5, -2.0

    def energy(noise: Tensor) -> Tensor:
        x = 1.0 + 2.0 * noise
        return (noise.square() / 2.0 + strength * (x - m).square() / 2.0).squeeze(1)

    settings = LangevinSettings(100, 0.05, metropolis=metropolis)
    x = 1.0 + 2.0 * langevin(energy, normal(CHAINS // 2, 1), settings, seeded()).state
    precision = 1.0 / 4.0 + strength
    # Without adjustment the variance in ε, 1/3, is too large by the factor 1/(1 − 3η/4).
    bias = 1.0 if metropolis else 1.0 / (1.0 - 3.0 * 0.05 / 4.0)
    assert x.mean().item() == pytest.approx((1.0 / 4.0 + strength * m) / precision, abs=0.03)
    assert x.var().item() == pytest.approx(bias / precision, rel=0.03)


@pytest.mark.parametrize("metropolis", [False, True])
def test_tuple_states_move_jointly(metropolis):
    """U = ½vᵀAv over v = (x, z): covariance (A − ηA²/4)⁻¹ unadjusted, A⁻¹ adjusted."""
    precision = torch.tensor([[1.0, 0.5, 0.2], [0.5, 1.5, -0.3], [0.2, -0.3, 0.8]])

    def energy(state: tuple[Tensor, Tensor]) -> Tensor:
        v = torch.cat([state[0].flatten(1), state[1]], dim=1)
        return (v @ precision * v).sum(1) / 2.0

    start = (normal(CHAINS, 2, 1), normal(CHAINS, 1, seed=2))
    settings = LangevinSettings(40, 0.6, metropolis=metropolis)
    chain = langevin(energy, start, settings, seeded(), keep=[0])
    x, z = chain.state
    assert x.shape == (CHAINS, 2, 1) and z.shape == (CHAINS, 1)
    torch.testing.assert_close(chain.kept[0], start)
    bias = torch.zeros(3, 3) if metropolis else 0.15 * precision @ precision
    torch.testing.assert_close(
        torch.cat([x.flatten(1), z], dim=1).T.cov(),
        torch.linalg.inv(precision - bias),
        rtol=0.03,
        atol=0.02,
    )


@pytest.mark.parametrize("metropolis", [False, True])
def test_kept_states_are_those_of_shorter_chains(metropolis):
    def run(steps: int, keep: tuple[int, ...] = ()):
        settings = LangevinSettings(steps, 0.3, metropolis=metropolis)
        return langevin(gaussian_energy(1.0), normal(50, 2), settings, seeded(), keep=keep)

    whole = run(6, keep=(6, 0, 2))
    for kept, expected in zip(whole.kept, [normal(50, 2), run(2).state, whole.state], strict=True):
        assert torch.equal(kept, expected)


def test_generator_decides_the_chain():
    def run(seed: int) -> Tensor:
        settings = LangevinSettings(5, 0.3, metropolis=True)
        return langevin(gaussian_energy(1.0), normal(50, 2), settings, seeded(seed)).state

    assert torch.equal(run(3), run(3))
    assert not torch.equal(run(3), run(4))


def test_memory_format_does_not_change_the_chain():
    def energy(x: Tensor) -> Tensor:
        return x.square().sum((1, 2, 3))

    def run(start: Tensor) -> Tensor:
        return langevin(energy, start, LangevinSettings(3, 0.1), seeded()).state

    x = normal(4, 3, 5, 5)
    assert torch.equal(run(x), run(x.to(memory_format=torch.channels_last)))


@pytest.mark.parametrize("metropolis", [False, True])
def test_energies_and_evaluations_are_as_documented(metropolis):
    calls = []

    def energy(x: Tensor) -> Tensor:
        calls.append(x)
        return gaussian_energy(1.0)(x)

    settings = LangevinSettings(7, 0.3, metropolis=metropolis)
    chain = langevin(energy, normal(50, 2), settings, seeded(), keep=[6])
    assert chain.nfe == len(calls) == (8 if metropolis else 7)
    seen = chain.state if metropolis else chain.kept[0]
    torch.testing.assert_close(chain.energies, gaussian_energy(1.0)(seen))


@pytest.mark.parametrize("metropolis", [False, True])
def test_no_gradient_is_left_behind(metropolis):
    network = nn.Sequential(nn.Linear(2, 8), nn.SiLU(), nn.Linear(8, 1), nn.Flatten(0))
    start = normal(5, 2).requires_grad_()
    before = start.detach().clone()
    settings = LangevinSettings(3, 0.3, metropolis=metropolis)
    with frozen(network), torch.no_grad():
        chain = langevin(network, start, settings, seeded(), keep=[1])
    for tensor in (chain.state, chain.kept[0], chain.energies):
        assert not tensor.requires_grad
    assert start.grad is None and torch.equal(start.detach(), before)
    assert all(p.grad is None and p.requires_grad for p in network.parameters())


@pytest.mark.parametrize("metropolis", [False, True])
def test_autocast_changes_the_energy_alone(metropolis):
    network = nn.Linear(2, 1)
    seen = []

    def energy(x: Tensor) -> Tensor:
        seen.append(network(x).dtype)
        return network(x).squeeze(1)

    def run(autocast):
        settings = LangevinSettings(3, 0.01, metropolis=metropolis, autocast=autocast)
        return langevin(energy, normal(5, 2), settings, seeded())

    rounded, exact = run("bfloat16"), run(None)
    assert set(seen) == {torch.bfloat16, torch.float32}
    assert rounded.state.dtype == rounded.energies.dtype == torch.float32
    torch.testing.assert_close(rounded.state, exact.state, rtol=0.0, atol=1e-3)
    assert not torch.equal(rounded.state, exact.state)


@pytest.mark.parametrize("metropolis", [False, True])
def test_a_broken_energy_is_seen(metropolis):
    def energy(x: Tensor) -> Tensor:
        return torch.where(x[:, 0] > 0.0, math.nan, 1.0) * x.square().sum(1)

    start = torch.tensor([[5.0], [-5.0]])
    settings = LangevinSettings(3, 0.01, metropolis=metropolis)
    chain = langevin(energy, start, settings, seeded())
    assert chain.energies.isnan().tolist() == [True, False]
    assert chain.state.isnan().flatten().tolist() == [True, False]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"steps": 0}, "steps must be 1 or more"),
        ({"step_size": 0.0}, "step size must be positive"),
        ({"step_size": math.nan}, "step size must be positive"),
        ({"noise_scale": -0.1}, "noise scale must be 0 or more"),
        ({"temperature": math.inf}, "temperature must be 0 or more"),
        ({"metropolis": True, "noise_scale": 0.0}, "needs noise"),
        ({"autocast": "float16"}, "must be bfloat16"),
    ],
)
def test_wrong_settings_are_refused(wrong, said):
    with pytest.raises(UserError, match=said):
        LangevinSettings(**{"steps": 1, "step_size": 0.1, **wrong})


def test_wrong_calls_are_refused():
    def run(energy, **arguments):
        langevin(energy, normal(5, 2), LangevinSettings(3, 0.1), seeded(), **arguments)

    with pytest.raises(UserError, match="steps 0 to 3"):
        run(gaussian_energy(1.0), keep=[4])
    with pytest.raises(UserError, match="3 positive numbers"):
        run(gaussian_energy(1.0), step_sizes=[0.1, 0.2])
    with pytest.raises(ValueError, match="one number a row"):
        run(torch.square)


def test_truncated_drift_and_varied_steps_keep_a_gaussian_exact():
    """Half of the drifts are cut, and some steps are far too long for an unadjusted chain."""
    settings = LangevinSettings(60, 0.1, metropolis=True, step_size_max=6.0, drift_limit=0.3)
    chain = langevin(gaussian_energy(1.0), normal(CHAINS // 2, 1) * 0.3, settings, seeded())
    assert chain.state.var().item() == pytest.approx(1.0, rel=0.025)
    assert chain.state.mean().item() == pytest.approx(0.0, abs=0.02)
    assert chain.state.pow(4).mean().item() == pytest.approx(3.0, rel=0.06)


@pytest.mark.parametrize(("temperature", "noise_scale"), [(1.0, 1.0), (2.0, 0.5)])
def test_truncated_drift_and_varied_steps_reach_a_stiff_law_from_afar(temperature, noise_scale):
    """A Gaussian of deviations 1 and 0.1, turned by 45°, from starts 10 deviations out."""
    turn = torch.tensor([[1.0, 1.0], [-1.0, 1.0]]) / math.sqrt(2.0)
    variances = torch.tensor([1.0, 0.01])

    def energy(x: Tensor) -> Tensor:
        return ((x @ turn).square() / variances).sum(1) / 2.0

    settings = LangevinSettings(
        250,
        0.005,
        noise_scale,
        temperature,
        metropolis=True,
        step_size_max=0.5,
        drift_limit=1.0,
    )
    chain = langevin(energy, normal(4_000, 2), settings, seeded())
    tau = temperature * noise_scale**2
    covariance = (chain.state @ turn).T.cov() / tau
    torch.testing.assert_close(covariance.diag(), variances, rtol=0.08, atol=0.0)
    assert covariance[0, 1].abs() < 0.01


def test_truncated_drift_and_varied_steps_keep_a_bent_law():
    """x ~ N(0, 1), y | x ~ N(x², 0.3²), started at the law itself: each move must keep it."""

    def energy(v: Tensor) -> Tensor:
        x, y = v.T
        return 0.5 * x.square() + 0.5 * ((y - x.square()) / 0.3).square()

    noise = normal(40_000, 2)
    start = torch.stack([noise[:, 0], noise[:, 0].square() + 0.3 * noise[:, 1]], dim=1)
    settings = LangevinSettings(80, 0.02, metropolis=True, step_size_max=1.0, drift_limit=0.7)
    chain = langevin(energy, start, settings, seeded())
    x, y = chain.state.T
    across = y - x.square()
    assert 0.2 < chain.acceptance_rate.mean() < 0.8
    found = torch.stack([x.mean(), x.var(), y.mean(), across.mean(), across.var() / 0.09])
    expected = torch.tensor([0.0, 1.0, 1.0, 0.0, 1.0])
    torch.testing.assert_close(found, expected, rtol=0.0, atol=0.04)


def test_truncation_frees_chains_that_a_steep_energy_holds():
    """From |x| = 20 in x⁴/4 the full drift jumps hundreds beyond, and is refused for ever."""

    def run(limit: float | None) -> tuple[float, float]:
        settings = LangevinSettings(200, 0.3, metropolis=True, drift_limit=limit)
        chain = langevin(
            lambda x: x.pow(4).sum(1) / 4.0, torch.full((2_000, 1), 20.0), settings, seeded()
        )
        return chain.state.square().mean().item(), chain.acceptance_rate.mean().item()

    assert run(None) == (400.0, 0.0)
    expected = 2.0 * math.gamma(0.75) / math.gamma(0.25)
    assert run(1.0)[0] == pytest.approx(expected, rel=0.1)


def first_move(energy, start: Tensor | tuple[Tensor, ...], **changes: float) -> tuple[Tensor, ...]:
    """How far the first proposal lies from the start, accepted or not, part by part."""
    seen = []

    def watched(state):
        parts = state if isinstance(state, tuple) else (state,)
        seen.append(tuple(part.detach().clone() for part in parts))
        return energy(state)

    settings = LangevinSettings(**{"steps": 1, "step_size": 0.01, "metropolis": True, **changes})
    langevin(watched, start, settings, seeded())
    return tuple(b - a for a, b in zip(seen[0], seen[1], strict=True))


def test_the_drift_is_limited_over_all_parts_together():
    """Along the gradient, of length limit·√(ητ): here 2·√(0.01·4) over both parts, as 3 to 4."""

    def energy(state: tuple[Tensor, Tensor]) -> Tensor:
        return 3e4 * state[0].sum((1, 2)) + 4e4 * state[1].sum(1)

    start = (torch.zeros(CHAINS, 1, 1), torch.zeros(CHAINS, 1))
    x, z = first_move(energy, start, drift_limit=2.0, temperature=4.0)
    assert x.mean().item() == pytest.approx(-0.6 * 0.4, abs=0.005)
    assert z.mean().item() == pytest.approx(-0.8 * 0.4, abs=0.005)
    assert x.std().item() == pytest.approx(0.2, rel=0.02)


def test_a_drift_within_the_limit_is_left_alone():
    def energy(x: Tensor) -> Tensor:
        return 7.0 * x.sum(1)

    start = torch.zeros(50, 1)
    limited = first_move(energy, start, drift_limit=0.36)  # the drift is 0.35 deviations long
    torch.testing.assert_close(limited, first_move(energy, start), rtol=0.0, atol=0.0)
    cut = first_move(energy, start, drift_limit=0.34)
    torch.testing.assert_close(cut[0] - limited[0], torch.full((50, 1), 0.001))


def test_step_sizes_are_log_uniform_and_each_chains_own():
    (move,) = first_move(
        lambda x: 0.0 * x.sum(1), torch.zeros(CHAINS, 8), step_size=0.01, step_size_max=1.0
    )
    estimates = move.square().mean(1)  # of each chain's η, of relative variance 2/8
    assert estimates.mean().item() == pytest.approx(0.99 / math.log(100.0), rel=0.02)
    squares = 0.5 * (1.0 - 0.01**2) / math.log(100.0)
    assert estimates.square().mean().item() == pytest.approx(1.25 * squares, rel=0.03)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"metropolis": False, "drift_limit": 1.0}, "need Metropolis"),
        ({"metropolis": False, "step_size_max": 1.0}, "need Metropolis"),
        ({"step_size_max": 0.05}, "step_size_max must be 0.1 or more"),
        ({"step_size_max": math.inf}, "step_size_max must be 0.1 or more"),
        ({"step_size_max": math.nan}, "step_size_max must be 0.1 or more"),
        ({"drift_limit": -1.0}, "drift_limit must be positive"),
        ({"drift_limit": 0.0}, "drift_limit must be positive"),
        ({"drift_limit": math.nan}, "drift_limit must be positive"),
    ],
)
def test_wrong_limits_are_refused(wrong, said):
    with pytest.raises(UserError, match=said):
        LangevinSettings(**{"steps": 1, "step_size": 0.1, "metropolis": True, **wrong})
