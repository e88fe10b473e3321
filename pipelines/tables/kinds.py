"""What the page of a table says of its kind of models, and shows of them beside distances."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pipelines.tables import layout
from pipelines.tables.entrants import Entrant

NEIGHBOURS = "samples (left) beside their nearest training images by pixels"
RECONSTRUCTIONS = "test images, each above its reconstruction"


@dataclass(frozen=True)
class Kind:
    """A kind of models.

    Attributes:
        lead: what the page is about; ``{data}`` stands for the data set's name.
        key: of the section that is this kind's own, and of its anchor.
        sheet: the section's table.
        note: below it; ``{count}`` stands for the number of test images.
        counted: figure that has that number.
        captions: of the pictures beside the samples, by stem; those that all models have are shown.
    """

    lead: str
    key: str
    sheet: Callable[[Sequence[Entrant]], layout.Sheet]
    note: str
    counted: str
    captions: Mapping[str, str]


LATENTS = Kind(
    lead="Auto-encoders whose latents are given a law: generative latent flow and its rivals on "
    "{data}, judged alike (chapter 3 of the dissertation).",
    key="latents",
    sheet=layout.latents,
    note="Of {count} test images. The scale of z is the root of its variance over images, averaged "
    "over dimensions: without a stopped gradient, a flow's likelihood is the higher the smaller it "
    "is, and the latents degenerate. NLL is −log p(z) under the prior, of one draw from the "
    "posterior. The entropy of Figure 3.6 is −Σ log σ / 2, which rises as the posterior narrows. "
    "The last column is the mean distance of the shown samples from their nearest training images.",
    counted="latent_count",
    captions={
        "reconstructions": RECONSTRUCTIONS,
        "interpolations": "straight lines between two noises (latents, without a noise), one a row",
        "neighbours": NEIGHBOURS,
    },
)
CHAINS = Kind(
    lead="Energies without a base, whose finite Langevin sampler is the generative model, on "
    "{data} (chapter 5 of the dissertation, Table 5.1): the noise of the steps and the generator "
    "loss are all that differs.",
    key="chains",
    sheet=layout.chains,
    note="The gap is the mean energy of samples over that of {count} test images. The other "
    "columns are of chains that run on for longer than in training (Figure 5.1). R-hat is near 1, "
    "and the effective sample size near 100 %, where chains forget their start; chains that stand "
    "still have neither. MALA is the share of moves that Metropolis adjustment would accept: "
    "chains without noise have no law to keep, and a dash. The drift is the sliced Wasserstein "
    "distance of the samples after the most steps from those after as many as in training; the "
    "floor is that of two sets of samples. The last column is the mean distance of the shown "
    "samples from their nearest training images.",
    counted="energy_count",
    captions={
        "chain": "one chain a row, its steps above",
        "drift": "the same for longer than in training, whose steps are the first column",
        "mixing": "energy along the chain, how long it remembers, how far samples drift",
        "reconstructions": f"{RECONSTRUCTIONS}, x₀ found by optimising it through the sampler",
        "interpolations": "from one x₀ to another, one a row",
        "neighbours": NEIGHBOURS,
    },
)
KINDS = {"latent-images": LATENTS, "short-run-images": CHAINS}
"""By the kind of `evaluate`."""
