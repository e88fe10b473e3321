"""The encoder and decoder on which auto-encoder based models are compared in chapter 3.

The decoder is the generator of InfoGAN (Chen et al., https://arxiv.org/abs/1606.03657), taken over
by Lucic et al. (https://arxiv.org/abs/1711.10337) for fair comparisons, and the encoder its mirror
image: dissertation, Table 3.6. The table ends the decoder with "Deconv_128": it can but mean a
layer to the image's channels.
"""

from __future__ import annotations

from torch import Tensor, nn

from components.errors import UserError


class InfoGANEncoder(nn.Module):
    """Two strided convolutions and two fully connected layers: images to latent vectors.

    Convolutions are 4×4 of stride 2 and padding 1; batch norm and ReLU follow every layer but the
    first, which has ReLU alone, and the last, which has neither.

    Args:
        channels: C, image channels.
        size: side of the square images, pixels; 4 M in the table.
        latent: size of the output; a VAE asks for twice its latent dimension (mean, log-variance).
        width: channels after the first convolution; twice as many after the second.
        hidden: units of the fully connected layer before the last.

    Raises:
        UserError: the size is no multiple of 4.
    """

    def __init__(
        self, channels: int, size: int, latent: int, width: int = 64, hidden: int = 1024
    ) -> None:
        super().__init__()
        side = _quarter(size)
        self.body = nn.Sequential(
            nn.Conv2d(channels, width, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(2 * width),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(2 * width * side**2, hidden, bias=False),
            nn.BatchNorm1d(hidden),
            nn.ReLU(),
            nn.Linear(hidden, latent),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Map images, float32 N×C×size×size in [0, 1], to N×latent."""
        codes: Tensor = self.body(images)
        return codes


class InfoGANDecoder(nn.Module):
    """The mirror image of `InfoGANEncoder`: latent vectors to images.

    Batch norm and ReLU follow every layer but the last; its sigmoid is left to the model.

    Args:
        channels: C, image channels.
        size: side of the square images, pixels.
        latent: size of a latent vector.
        width: channels before the last layer.
        hidden: units of the first fully connected layer.

    Raises:
        UserError: the size is no multiple of 4.
    """

    def __init__(
        self, channels: int, size: int, latent: int, width: int = 64, hidden: int = 1024
    ) -> None:
        super().__init__()
        side = _quarter(size)
        features = 2 * width * side**2
        self.body = nn.Sequential(
            nn.Linear(latent, hidden, bias=False),
            nn.BatchNorm1d(hidden),
            nn.ReLU(),
            nn.Linear(hidden, features, bias=False),
            nn.BatchNorm1d(features),
            nn.ReLU(),
            nn.Unflatten(1, (2 * width, side, side)),
            nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.ConvTranspose2d(width, channels, 4, stride=2, padding=1),
        )

    def forward(self, latents: Tensor) -> Tensor:
        """Map N×latent to N×C×size×size, any range: logits of images in [0, 1]."""
        logits: Tensor = self.body(latents)
        return logits


def _quarter(size: int) -> int:
    """Return M, the side of the smallest feature map."""
    if size < 4 or size % 4 != 0:
        raise UserError(f"an InfoGAN network takes images of a multiple of 4 pixels, not {size}")
    return size // 4
