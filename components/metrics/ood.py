"""Out-of-distribution detection by a model's log-density (dissertation, chapter 4.4.3, table 4.8).

A model that gives its density to the data and to nothing else ranks data above anything else;
likelihood models often do not (Nalisnick et al. 2018, arXiv:1810.09136).
"""

from __future__ import annotations

import numpy as np
import torch
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve
from torch import Tensor

from components.errors import UserError
from components.images import quantise, to_unit


def ood_scores(in_scores: Tensor, out_scores: Tensor) -> dict[str, float | int]:
    """How well a score tells the distribution's own samples from others.

    Positive is in-distribution, and a higher score means more likely so: give ``log p(x)`` up to a
    constant (never an energy: its sign is the other one).

    Args:
        in_scores: floating point, N, of in-distribution samples.
        out_scores: floating point, M, of the others.

    Returns:
        ``auroc``: area under the ROC curve, in [0, 1], 0.5 by chance, whatever N / M.
        ``aupr``: average precision, in [0, 1], N / (N + M) by chance: comparable only at one ratio
        of counts. ``fpr95``: the fraction of others accepted by the strictest threshold that
        accepts at least 95 % of the in-distribution samples, in [0, 1], lower is better.
        ``in_count``, ``out_count``: N and M.

    Raises:
        UserError: scores that are not finite, or none on a side.
    """
    for name, given in (("in", in_scores), ("out-of", out_scores)):
        broken = int((~given.isfinite()).sum())
        if broken or len(given) == 0:
            raise UserError(
                f"{broken} of {len(given)} scores of the {name}-distribution samples are not"
                " finite: OOD detection needs finite ones on both sides"
            )
    # Ranks decide: single precision would tie what the model's own precision tells apart.
    scores = torch.cat([in_scores.double().cpu(), out_scores.double().cpu()]).numpy()
    positive = np.arange(len(scores)) < len(in_scores)
    # Every threshold is kept: the 95 % point may be one that dropping collinear ones removes.
    accepted_out, accepted_in, _ = roc_curve(positive, scores, drop_intermediate=False)
    return {
        "auroc": float(roc_auc_score(positive, scores)),
        "aupr": float(average_precision_score(positive, scores)),
        "fpr95": float(accepted_out[np.argmax(accepted_in >= 0.95)]),
        "in_count": len(in_scores),
        "out_count": len(out_scores),
    }


def probes(images: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
    """Images that are none of the data set's, made from the data set or from nothing.

    Args:
        images: uint8, N×C×H×W, N >= 2, in-distribution.
        generator: source of the randomness, on the CPU.

    Returns:
        Name → uint8, N×C×H×W. ``interpolation``: the mean of two different images, paired at random
        (the dissertation's *Interp.*). ``uniform-noise``: every value independent and uniform in
        0..255. ``constant``: one uniform random value a channel, the same at all pixels.
    """
    count, channels = images.shape[:2]
    # Neighbours in a random ring: nobody is paired with itself, each is used twice.
    ring = torch.randperm(count, generator=generator)
    pairs = to_unit(images[ring]) + to_unit(images[ring.roll(1)])
    noise = torch.randint(0, 256, images.shape, generator=generator)
    colours = torch.randint(0, 256, (count, channels, 1, 1), generator=generator)
    return {
        "interpolation": quantise(pairs / 2),
        "uniform-noise": noise.to(torch.uint8),
        "constant": colours.to(torch.uint8).expand_as(images).contiguous(),
    }
