"""The flow of latent vectors: a bijection whose density is one."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from components.errors import UserError
from components.models.latent_flow import LatentFlow, log_standard_normal


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def trained(latent: int, blocks: int = 4, spread: float = 0.3) -> LatentFlow:
    """A flow away from the identity at which it starts."""
    flow = LatentFlow(latent, hidden=16, blocks=blocks)
    generator = seeded(latent)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(spread * torch.randn(parameter.shape, generator=generator))
    return flow


@pytest.mark.parametrize("latent", [2, 3, 5, 20])
@pytest.mark.parametrize("blocks", [1, 2, 3, 4])
def test_inverse_is_exact(latent, blocks):
    flow = trained(latent, blocks).double()
    z = 3.0 * torch.randn(50, latent, generator=seeded(), dtype=torch.float64)
    noise, _ = flow(z)
    assert (noise - z).abs().max() > 0.5
    torch.testing.assert_close(flow.inverse(noise), z)
    torch.testing.assert_close(flow(flow.inverse(z))[0], z)
    assert torch.equal(flow.to_noise(z), noise)
    assert torch.equal(flow.from_noise(noise), flow.inverse(noise))


@pytest.mark.parametrize(("latent", "blocks"), [(2, 4), (3, 3), (6, 4), (7, 1)])
def test_log_determinant_is_that_of_the_jacobian(latent, blocks):
    flow = trained(latent, blocks).double()
    z = torch.randn(5, latent, generator=seeded(), dtype=torch.float64)
    _, log_det = flow(z)
    jacobians = torch.func.vmap(torch.func.jacrev(lambda one: flow(one[None])[0][0]))(z)
    sign, expected = torch.linalg.slogdet(jacobians)
    assert (sign == 1.0).all()
    assert expected.abs().min() > 1e-3
    torch.testing.assert_close(log_det, expected)


def test_density_integrates_to_one():
    flow = trained(2, spread=0.15)
    nodes = torch.linspace(-12.0, 12.0, 401)
    grid = torch.cartesian_prod(nodes, nodes)
    density = flow.log_prob(grid).double().exp()
    assert (density / log_standard_normal(grid).double().exp() - 1.0).abs().max() > 0.5
    assert density.sum().item() * (24.0 / 400) ** 2 == pytest.approx(1.0, abs=2e-3)


def test_samples_are_of_the_density():
    """E_q[p / q] is one for any p when q is the samples' density: here p is Gaussian."""
    flow = trained(2, spread=0.15)
    z = flow.sample(200_000, seeded())
    weights = torch.exp(log_standard_normal(z / 0.5) - 2.0 * math.log(0.5) - flow.log_prob(z))
    error = (weights.std() / len(z) ** 0.5).item()
    assert error < 0.02
    assert weights.mean().item() == pytest.approx(1.0, abs=5.0 * error)
    assert torch.equal(z[:9], flow.sample(200_000, seeded())[:9])
    assert not z.requires_grad


def test_starts_at_the_identity():
    z = torch.randn(6, 5, generator=seeded())
    flow = LatentFlow(5)
    noise, log_det = flow(z)
    assert torch.equal(noise, z)
    assert torch.equal(log_det, torch.zeros(6))
    torch.testing.assert_close(
        flow.log_prob(z), torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(1)
    )


def test_two_blocks_alter_every_dimension_and_one_the_last_half():
    z = torch.randn(6, 5, generator=seeded())
    altered = [(trained(5, blocks)(z)[0] != z).all(0).tolist() for blocks in (1, 2)]
    assert altered == [[False, False, True, True, True], [True] * 5]


def test_size_is_that_of_section_3_4():
    """Four blocks of three fully connected layers of k = 64 units, a bound of each scale beside."""
    flow = LatentFlow(20, hidden=64, blocks=4)
    block = (10 * 64 + 64) + (64 * 64 + 64) + (64 * 20 + 20) + 10
    assert sum(parameter.numel() for parameter in flow.parameters()) == 4 * block


def test_stays_float32_under_autocast():
    flow = trained(6)
    z = torch.randn(50, 6, generator=seeded())
    noise, log_det = flow(z)
    with torch.autocast("cpu", torch.bfloat16):
        low_noise, low_log_det = flow(z)
        assert torch.equal(low_noise, noise)
        assert torch.equal(low_log_det, log_det)
        torch.testing.assert_close(flow.inverse(low_noise), z, rtol=1e-4, atol=1e-4)
        assert flow(z.bfloat16())[0].dtype == torch.float32


def test_outliers_stay_finite():
    flow = trained(6)
    z = 1e4 * torch.randn(50, 6, generator=seeded())
    assert flow.log_prob(z).isfinite().all()
    assert flow.inverse(z).isfinite().all()


def test_learns_a_law_that_is_not_normal():
    """A ring of radius 3: its NLL falls well below that of the best Gaussian."""
    torch.manual_seed(0)
    generator = seeded()

    def ring(count: int) -> Tensor:
        angles = 2.0 * math.pi * torch.rand(count, generator=generator)
        radii = 3.0 + 0.2 * torch.randn(count, generator=generator)
        return torch.stack([radii * angles.cos(), radii * angles.sin()], dim=1)

    flow = LatentFlow(2, hidden=32)
    optimiser = torch.optim.Adam(flow.parameters(), lr=5e-3)
    for _ in range(150):
        loss = -flow.log_prob(ring(256)).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    gaussian = 1.0 + math.log(2.0 * math.pi) + math.log(4.52)
    assert -flow.log_prob(ring(5_000)).mean().item() < gaussian - 0.3


@pytest.mark.parametrize(("latent", "blocks"), [(1, 4), (0, 4), (2, 0)])
def test_what_has_no_halves_is_refused(latent, blocks):
    with pytest.raises(UserError, match=f"not {latent} and {blocks}"):
        LatentFlow(latent, blocks=blocks)
