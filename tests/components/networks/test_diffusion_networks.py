"""Generators and discriminators of denoising diffusion GANs: shapes, what they see, refusals."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from components.errors import UserError
from components.networks.conditioning import MappingNetwork, sinusoids
from components.networks.diffusion_discriminator import group_size, with_deviation
from components.networks.registry import build

UNET: dict[str, Any] = {
    "kind": "unet", "channels": 3, "size": 8, "width": 8, "multipliers": [1, 2], "blocks": 1,
    "attention": [4], "latent": 6, "mapping_layers": 2, "embedding": 16,
}  # fmt: skip
RESIDUAL: dict[str, Any] = {
    "kind": "diffusion-discriminator", "channels": 3, "size": 8, "width": 8,
    "multipliers": [1, 2], "down": [False, True], "embedding": 16,
}  # fmt: skip


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def network(settings: dict[str, Any], **changes: Any) -> nn.Module:
    torch.manual_seed(0)
    return build(**{**settings, **changes})


def roughened(settings: dict[str, Any], **changes: Any) -> nn.Module:
    """With weights at which no branch is silent."""
    made = network(settings, **changes)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    return made


@pytest.mark.parametrize("progressive", [True, False])
def test_a_unet_maps_images_by_time_and_latent_variable(progressive: bool) -> None:
    made = roughened(UNET, progressive=progressive).eval()
    x, t, z = drawn(2, 3, 8, 8), torch.tensor([0, 3]), drawn(2, 6)
    found = made(x, t, z)
    assert found.shape == x.shape and found.dtype == torch.float32
    for other in (made(x, t + 1, z), made(x, t, z + 1.0), made(x + 1.0, t, z)):
        assert (other - found).abs().amax((1, 2, 3)).min() > 1e-3
    # An item's result is its own.
    torch.testing.assert_close(made(x[1:], t[1:], z[1:]), found[1:], rtol=1e-4, atol=1e-5)


def test_without_a_latent_variable_there_is_no_mapping() -> None:
    made = network(UNET, latent=0)
    assert not any("mapping" in name or "affine" in name for name in made.state_dict())
    assert made(drawn(2, 3, 8, 8), torch.tensor([0.5, 2.0])).shape == (2, 3, 8, 8)


def test_a_bounded_unet_stays_in_the_range_of_images() -> None:
    found = roughened(UNET, bounded=True)(100.0 * drawn(2, 3, 8, 8), torch.zeros(2), drawn(2, 6))
    assert found.abs().max() <= 1.0


def test_a_fresh_unet_keeps_the_scale_of_what_it_sees() -> None:
    """Skips over √2: however deep, no layer explodes."""
    deep = network(UNET, size=16, multipliers=[1, 2, 2, 2], blocks=3, attention=[])
    found = deep(drawn(4, 3, 16, 16), torch.zeros(4), drawn(4, 6))
    assert 0.05 < found.std() < 5.0


def test_every_parameter_of_a_unet_learns() -> None:
    made = roughened(UNET)
    made(drawn(2, 3, 8, 8), torch.tensor([0, 1]), drawn(2, 6)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0.0 for p in made.parameters())


def test_a_discriminator_tells_by_pair_and_time_and_can_be_differentiated_twice() -> None:
    made = network(RESIDUAL)
    x, after, t = drawn(4, 3, 8, 8).requires_grad_(), drawn(4, 3, 8, 8, seed=1), torch.arange(4)
    logits = made(x, t, after)
    assert logits.shape == (4,)
    assert not torch.allclose(logits, made(x, t, after + 1.0))
    assert not torch.allclose(logits, made(x, t.flip(0), after))
    (slope,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
    slope.square().sum().backward()
    blind = {"logit.bias"}  # a constant has no part in a slope
    named = dict(made.named_parameters())
    assert all(named[name].grad is not None for name in named.keys() - blind)
    assert network(RESIDUAL, conditional=False)(x, t).shape == (4,)


def test_the_batch_knows_how_much_it_differs() -> None:
    """Of items ±1 in equal halves the deviation is 1; of equal ones 0."""
    x = torch.ones(4, 2, 3, 3)
    assert with_deviation(x)[:, 2].abs().max() < 1e-3
    x[::2] = -1.0
    torch.testing.assert_close(with_deviation(x)[:, 2], torch.ones(4, 3, 3))
    assert with_deviation(torch.ones(7, 1, 2, 2)).shape == (7, 2, 2, 2)


def test_a_group_is_of_four_items_or_of_as_many_as_divide_the_batch() -> None:
    assert [group_size(count) for count in (1, 2, 3, 5, 6, 7, 8, 64)] == [1, 2, 3, 1, 3, 1, 4, 4]
    x = torch.zeros(8, 1, 1, 1)
    x[1] = 2.0  # items 1, 3, 5, 7 are one group: deviation √(3)/4 · 2
    deviation = with_deviation(x)[:, 1].flatten()
    torch.testing.assert_close(deviation[1::2], torch.full((4,), 0.75**0.5))
    assert deviation[::2].max() < 1e-3


@pytest.mark.parametrize("kind", ["points-generator", "points-discriminator"])
def test_coordinates_of_points_are_not_rounded_in_bfloat16(kind: str) -> None:
    """1.4 and 1.401 are one number in bfloat16; the hidden products alone are rounded."""
    own = {"latent": 0} if kind == "points-generator" else {}
    made = network({"kind": kind, "dim": 2, "hidden": [64, 64], "steps": 4, **own})
    x, t = drawn(50, 2).sign() * 1.4, torch.zeros(50, dtype=torch.long)
    after = {} if own else {"after": x}
    exact, further = made(x, t, **after), made(x + 1e-3, t, **after)
    with torch.autocast("cpu", torch.bfloat16):
        rounded, seen = made(x, t, **after), made(x + 1e-3, t, **after)
    assert rounded.dtype == torch.float32
    error = (rounded - exact).abs().max() / exact.abs().max()
    assert 0.0 < error < 2.0**-7
    assert (seen != rounded).float().mean() > 0.9
    assert (further != exact).all()


def test_points() -> None:
    generator = network({"kind": "points-generator", "dim": 2, "hidden": [16], "latent": 3,
                         "steps": 4})  # fmt: skip
    judge = network({"kind": "points-discriminator", "dim": 2, "hidden": [16], "steps": 4})
    x, t, z = drawn(5, 2), torch.arange(5) % 4, drawn(5, 3)
    entered = [made.state_dict()["body.layers.0.weight"].shape[1] for made in (generator, judge)]
    assert entered == [2 + 1 + 3, 2 + 2 + 1]
    assert generator(x, t, z).shape == (5, 2) and judge(x, t, x).shape == (5,)
    alone = network({"kind": "points-generator", "dim": 2, "hidden": [16], "latent": 3, "steps": 0})
    assert torch.equal(alone(x, t, z), alone(x + 1.0, t + 1, z))


def test_sinusoids_and_mapping() -> None:
    found = sinusoids(torch.tensor([0.0, 1.0]), 4)
    expected = [[0.0, 0.0, 1.0, 1.0], [math.sin(1.0), math.sin(1e-4), math.cos(1.0), 1.0]]
    torch.testing.assert_close(found, torch.tensor(expected), rtol=1e-5, atol=1e-6)
    mapping = MappingNetwork(6, 16, 3)
    torch.testing.assert_close(mapping(drawn(2, 6)), mapping(5.0 * drawn(2, 6)))


@pytest.mark.parametrize(
    ("settings", "changes", "message"),
    [
        (UNET, {"size": 9}, "9 pixels cannot be halved 1 times"),
        (UNET, {"width": 6}, "a multiple of 4, not 6"),
        (UNET, {"attention": [16]}, r"attention at a side of 16, but maps have sides \[8, 4\]"),
        (UNET, {"multipliers": []}, "a multiplier and a block"),
        (RESIDUAL, {"down": [True]}, "one `down` for each"),
        (RESIDUAL, {"size": 9}, "9 pixels cannot be halved 1 times"),
    ],
)
def test_sizes_that_do_not_fit(settings: Any, changes: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        network(settings, **changes)
