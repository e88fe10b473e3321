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
SETTINGS = {
    "classifier": ({"channels": 1, "size": 16, "classes": 3, "width": 4}, IMAGES),
    "conv-energy": ({"channels": 1, "size": 16, "width": 4, "multipliers": [1, 2]}, IMAGES),
    "dcgan-decoder": ({"channels": 1, "size": 16, "width": 4, "latent": 5}, POINTS),
    "dcgan-encoder": ({"channels": 1, "size": 16, "width": 4, "latent": 5}, IMAGES),
    "fully-connected-energy": ({"dim": 5, "hidden": [8], "normalisation": "spectral"}, POINTS),
    "infogan-decoder": ({"channels": 1, "size": 16, "latent": 5, "width": 4, "hidden": 8}, POINTS),
    "infogan-encoder": ({"channels": 1, "size": 16, "latent": 5, "width": 4, "hidden": 8}, IMAGES),
    "mlp": ({"in_features": 5, "hidden": [8], "out_features": 2, "nonlinearity": "tanh"}, POINTS),
    "residual-energy": ({"channels": 1, "layout": ["conv 8", "down 16"]}, IMAGES),
    "strided-energy": ({"channels": 1, "size": 16, "filters": [4, 8]}, IMAGES),
}


@pytest.mark.parametrize("kind", KINDS)
def test_settings_and_weights_rebuild_the_network(kind):
    settings, x = SETTINGS[kind]
    network = build(kind, **settings).eval()
    initialise_from(network, x)
    exported = json.loads(json.dumps({"kind": kind, **settings}))
    other = build(**exported).eval()
    assert not torch.equal(other(x), network(x))
    other.load_state_dict(network.state_dict())
    assert torch.equal(other(x), network(x))


def test_wrong_settings_are_refused_by_name():
    with pytest.raises(UserError, match=r"unknown network 'unet': known are classifier, conv-en"):
        build("unet")
    with pytest.raises(UserError, match="network mlp: missing a required argument: 'hidden'"):
        build("mlp", in_features=2, out_features=1)
    with pytest.raises(UserError, match="unexpected keyword argument 'colour'"):
        build("mlp", in_features=2, hidden=[3], out_features=1, colour="red")
