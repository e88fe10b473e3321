"""Models from plain descriptions, so that an exported model's JSON can rebuild it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from components.errors import UserError
from components.models.build_diffusion import build_ddpm, build_denoising_gan, build_gan
from components.models.gradient_flow import GradientFlow
from components.models.latent_model import LatentModel, posterior_outputs
from components.models.latent_priors import build_prior
from components.models.short_run import ShortRunEBM, Start
from components.models.vae import VAE
from components.models.vaebm import VAEBM
from components.networks.registry import build as build_network
from components.samplers.gradient_flow import FlowSettings
from components.samplers.langevin import LangevinSettings

Description = Mapping[str, Any]


class Scale(nn.Module):
    """Multiply by a constant."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor


def build_model(description: Description) -> nn.Module:
    """Make a model with fresh weights (from torch's global generator).

    Args:
        description: ``kind`` and what that kind needs; see `build_vae`, `build_vaebm`,
            `build_short_run`, `build_latent`, `build_gradient_flow` and, of denoising models,
            `components.models.build_diffusion`. A network's own settings go to
            `components.networks.registry`.

    Raises:
        UserError: an unknown kind.
    """
    kinds = {
        "vae": build_vae,
        "vaebm": build_vaebm,
        "short-run-ebm": build_short_run,
        "classifier": build_classifier,
        "stacked-classifier": build_classifier,
        "latent": build_latent,
        "gradient-flow": build_gradient_flow,
        "denoising-gan": build_denoising_gan,
        "ddpm": build_ddpm,
        "gan": build_gan,
    }
    kind = description["kind"]
    if kind not in kinds:
        raise UserError(f"unknown kind of model {kind!r}; known: {', '.join(kinds)}")
    # Convolutions run fastest with channels last, on a CPU as on a GPU; others are not affected.
    return kinds[kind](description).to(memory_format=torch.channels_last)


def build_vae(description: Description) -> VAE:
    """Make a VAE from ``shape``, ``latent``, ``likelihood`` and ``network``.

    The network is ``{kind: mlp, hidden, input_scale}`` or ``{kind: dcgan, width, depth, ...}``.
    """
    network = dict(description["network"])
    shape, latent = tuple(description["shape"]), description["latent"]
    kind = network.pop("kind")
    if kind == "mlp":
        scale, (size,) = network["input_scale"], shape
        hidden = network["hidden"]
        encoder: nn.Module = nn.Sequential(
            Scale(1.0 / scale),
            build_network(
                "mlp", in_features=size, hidden=hidden, out_features=2 * latent, nonlinearity="relu"
            ),
        )
        decoder: nn.Module = nn.Sequential(
            build_network(
                "mlp",
                in_features=latent,
                hidden=hidden[::-1],
                out_features=size,
                nonlinearity="relu",
            ),
            Scale(scale),
        )
    else:
        channels, side, _ = shape
        settings = {**network, "channels": channels, "size": side}
        encoder = build_network("dcgan-encoder", latent=2 * latent, **settings)
        decoder = build_network("dcgan-decoder", latent=latent, **settings)
    return VAE(encoder, decoder, latent, shape, description["likelihood"])


def build_vaebm(description: Description) -> VAEBM:
    """Make a VAEBM from ``base`` (a VAE's description), ``energy`` and ``space``.

    Raises:
        UserError: the base is another kind of model.
    """
    if description["base"]["kind"] != "vae":
        raise UserError(f"a vaebm needs a base of kind vae, not {description['base']['kind']!r}")
    base = build_vae(description["base"])
    return VAEBM(base, build_energy(description["energy"], base.shape), description["space"])


def build_short_run(description: Description) -> ShortRunEBM:
    """Make a short-run EBM from ``shape``, ``energy``, ``langevin`` and ``start``.

    The last two are the settings of `LangevinSettings` and `Start`.

    Raises:
        UserError: a wrong setting.
    """
    try:
        langevin = LangevinSettings(**description["langevin"])
        start = Start(**description["start"])
    except TypeError as error:
        raise UserError(f"sampler of a short-run EBM: {error}") from None
    shape = tuple(description["shape"])
    return ShortRunEBM(build_energy(description["energy"], shape), shape, langevin, start)


def build_energy(description: Description, shape: Sequence[int]) -> nn.Module:
    """Make an energy of items of a shape from ``kind``, without its -energy, and its settings."""
    settings = dict(description)
    kind = settings.pop("kind") + "-energy"
    if len(shape) == 3:
        settings.update(channels=shape[0], size=shape[1])
    else:
        settings["dim"] = shape[0]
    return build_network(kind, **settings)


def build_gradient_flow(description: Description) -> GradientFlow:
    """Make a gradient flow from ``shape``, ``energy`` and ``flow`` (see `FlowSettings`)."""
    shape = tuple(description["shape"])
    settings = FlowSettings(**description["flow"])
    return GradientFlow(build_energy(description["energy"], shape), shape, settings)


def build_classifier(description: Description) -> nn.Module:
    """Make an image classifier from ``kind``, ``shape``, ``classes`` and the network's settings."""
    settings = {k: v for k, v in description.items() if k != "shape"}
    channels, side, _ = description["shape"]
    return build_network(channels=channels, size=side, **settings)


def build_latent(description: Description) -> LatentModel:
    """Make a latent model from ``shape``, ``latent``, ``network``, ``posterior`` and ``prior``.

    The network is ``{kind: infogan, width, hidden}`` or ``{kind: dcgan, width, depth, ...}``;
    posterior and prior are described at `LatentModel` and `build_prior`.

    Raises:
        UserError: items that are not square images, an unknown kind or a wrong setting.
    """
    shape, latent = tuple(description["shape"]), description["latent"]
    if len(shape) != 3 or shape[1] != shape[2]:
        raise UserError(f"a latent model is one of square images, not of items of shape {shape}")
    network = dict(description["network"])
    kind = network.pop("kind")
    if kind not in ("infogan", "dcgan"):
        raise UserError(f"unknown network {kind!r} of a latent model; known: infogan, dcgan")
    settings = {**network, "channels": shape[0], "size": shape[1]}
    outputs = posterior_outputs(description["posterior"]["kind"], latent)
    return LatentModel(
        build_network(f"{kind}-encoder", latent=outputs, **settings),
        build_network(f"{kind}-decoder", latent=latent, **settings),
        latent,
        shape,
        description["posterior"],
        build_prior(description["prior"], latent),
    )


def seeded(description: Description, seed: int) -> nn.Module:
    """Make a model whose fresh weights are a function of a seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_model(description)
