"""The encoder and decoder of the small convolutional auto-encoders and VAEs.

The decoder is the generator of DCGAN (Radford et al., https://arxiv.org/abs/1511.06434) and the
encoder its mirror image: dissertation, section 4.4.1, "Experimental Settings".
"""

from __future__ import annotations

from torch import Tensor, nn

from components.errors import UserError
from components.networks.layers import centre


def default_depth(size: int) -> int:
    """Return how often an image is halved: while its side stays whole and 4 pixels or more.

    >>> [default_depth(size) for size in (28, 32, 64)]  # down to 7, 4 and 4 pixels
    [2, 3, 4]
    """
    depth = 0
    while size % 2 == 0 and size >= 8:
        size //= 2
        depth += 1
    return depth


class DCGANEncoder(nn.Module):
    """Strided convolutions and one fully connected layer: images to latent vectors.

    Layer i of `depth` is a 4×4 convolution of stride 2 with width·2^(i−1) channels, batch norm
    (but in the first layer) and LeakyReLU of slope 0.2.

    Args:
        channels: C, image channels.
        size: side of the square images, pixels.
        width: channels after the first layer.
        latent: size of the output; a VAE asks for twice its latent dimension (mean, log-variance).
        depth: number of strided layers; None halves down to 4..7 pixels (`default_depth`).
        batch_norm: whether layers after the first are batch-normalised.

    Raises:
        UserError: the size cannot be halved `depth` times.
    """

    def __init__(
        self,
        channels: int,
        size: int,
        width: int,
        latent: int,
        depth: int | None = None,
        batch_norm: bool = True,
    ) -> None:
        super().__init__()
        widths, side = _plan(size, width, depth)
        layers: list[nn.Module] = []
        for i, (old, new) in enumerate(zip([channels, *widths], widths, strict=False)):
            normed = batch_norm and i > 0
            layers.append(nn.Conv2d(old, new, 4, stride=2, padding=1, bias=not normed))
            if normed:
                layers.append(nn.BatchNorm2d(new))
            layers.append(nn.LeakyReLU(0.2))
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(widths[-1] * side**2, latent)

    def forward(self, images: Tensor) -> Tensor:
        """Map images, float32 N×C×size×size in [0, 1], to N×latent."""
        codes: Tensor = self.head(self.body(centre(images)).flatten(1))
        return codes


class DCGANDecoder(nn.Module):
    """The mirror image of `DCGANEncoder`: latent vectors to images.

    A fully connected layer makes the smallest feature map; `depth` 4×4 transposed convolutions of
    stride 2 double it, with batch norm and ReLU between them and nothing after the last.

    Args:
        channels: C, image channels.
        size: side of the square images, pixels.
        width: channels before the last layer.
        latent: size of a latent vector.
        depth: number of strided layers; None as in `DCGANEncoder`.
        batch_norm: whether every layer but the last is batch-normalised.

    Raises:
        UserError: the size cannot be halved `depth` times.
    """

    def __init__(
        self,
        channels: int,
        size: int,
        width: int,
        latent: int,
        depth: int | None = None,
        batch_norm: bool = True,
    ) -> None:
        super().__init__()
        widths, side = _plan(size, width, depth)
        first, *rest = reversed(widths)
        layers: list[nn.Module] = [
            nn.Linear(latent, first * side**2, bias=not batch_norm),
            nn.Unflatten(1, (first, side, side)),
        ]
        old = first
        for new in rest:
            layers += [
                *_normed_relu(old, batch_norm),
                nn.ConvTranspose2d(old, new, 4, stride=2, padding=1, bias=not batch_norm),
            ]
            old = new
        layers += [
            *_normed_relu(old, batch_norm),
            nn.ConvTranspose2d(old, channels, 4, stride=2, padding=1),
        ]
        self.body = nn.Sequential(*layers)

    def forward(self, latents: Tensor) -> Tensor:
        """Map N×latent to N×C×size×size, any range: logits, whose sigmoid is the image in [0, 1].

        A Bernoulli likelihood takes the logits themselves.
        """
        logits: Tensor = self.body(latents)
        return logits


def _normed_relu(width: int, batch_norm: bool) -> list[nn.Module]:
    return [nn.BatchNorm2d(width), nn.ReLU()] if batch_norm else [nn.ReLU()]


def _plan(size: int, width: int, depth: int | None) -> tuple[list[int], int]:
    """Return the channels after each strided layer and the side of the smallest feature map."""
    if depth is None:
        depth = default_depth(size)
    if depth < 1 or size % 2**depth != 0:
        raise UserError(
            f"a DCGAN network of depth {depth} cannot take images of {size} pixels: "
            f"the size must be a multiple of {2 ** max(depth, 1)}, and 8 or more without a depth"
        )
    return [width * 2**i for i in range(depth)], size // 2**depth
