"""Networks rebuilt from plain settings."""

from __future__ import annotations

import json

import pytest
import torch

from components.errors import UserError
from components.networks.normalisation import initialise_from
from components.networks.registry import KINDS, build

IMAGES = torch.rand(4, 1, 16, 16, generator=torch.Generator().manual_seed(0))
POINTS = torch.rand(4, 5, generator=torch.Generator().manual_seed(0))
TIMES = torch.arange(4)
SETTINGS = {
    "classifier": ({"channels": 1, "size": 16, "classes": 3, "width": 4}, IMAGES),
    "conv-energy": ({"channels": 1, "size": 16, "width": 4, "multipliers": [1, 2]}, IMAGES),
    "dcgan-decoder": ({"channels": 1, "size": 16, "width": 4, "latent": 5}, POINTS),
    "diffusion-discriminator": (
        {"channels": 1, "size": 16, "width": 4, "multipliers": [1, 2], "down": [False, True]},
        (IMAGES, TIMES, IMAGES),
    ),
    "dcgan-encoder": ({"channels": 1, "size": 16, "width": 4, "latent": 5}, IMAGES),
    "fully-connected-energy": ({"dim": 5, "hidden": [8], "normalisation": "spectral"}, POINTS),
    "infogan-decoder": ({"channels": 1, "size": 16, "latent": 5, "width": 4, "hidden": 8}, POINTS),
    "infogan-encoder": ({"channels": 1, "size": 16, "latent": 5, "width": 4, "hidden": 8}, IMAGES),
    "mlp": ({"in_features": 5, "hidden": [8], "out_features": 2, "nonlinearity": "tanh"}, POINTS),
    "points-discriminator": ({"dim": 5, "hidden": [8], "steps": 4}, (POINTS, TIMES, POINTS)),
    "points-generator": (
        {"dim": 5, "hidden": [8], "latent": 5, "steps": 4},
        (POINTS, TIMES, POINTS),
    ),
    "residual-energy": ({"channels": 1, "layout": ["conv 8", "down 16"]}, IMAGES),
    "stacked-classifier": ({"channels": 1, "size": 16, "classes": 3, "width": 4}, IMAGES),
    "strided-energy": ({"channels": 1, "size": 16, "filters": [4, 8]}, IMAGES),
    "unet": (
        {"channels": 1, "size": 16, "width": 4, "multipliers": [1, 2], "blocks": 1},
        (IMAGES, TIMES),
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_settings_and_weights_rebuild_the_network(kind):
    settings, seen = SETTINGS[kind]
    x = seen if isinstance(seen, tuple) else (seen,)
    network = build(kind, **settings).eval()
    if len(x) == 1:
        initialise_from(network, *x)
    exported = json.loads(json.dumps({"kind": kind, **settings}))
    other = build(**exported).eval()
    assert not torch.equal(other(*x), network(*x))
    other.load_state_dict(network.state_dict())
    assert torch.equal(other(*x), network(*x))


def test_wrong_settings_are_refused_by_name():
    with pytest.raises(UserError, match=r"unknown network 'u-net': known are classifier, conv-en"):
        build("u-net")
    with pytest.raises(UserError, match="network mlp: missing a required argument: 'hidden'"):
        build("mlp", in_features=2, out_features=1)
    with pytest.raises(UserError, match="unexpected keyword argument 'colour'"):
        build("mlp", in_features=2, hidden=[3], out_features=1, colour="red")
