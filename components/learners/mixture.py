"""Fitting a mixture of Gaussians to the latents of a frozen auto-encoder (RAE + GMM, 3.4.4)."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from components.datasets.loading import Batch
from components.learners.computing import Computing
from components.learners.learner import Learner, Metrics, Stateful, as_model_input
from components.learners.parallel import of_first
from components.models.latent_model import LatentModel
from components.models.latent_priors import MixturePrior

ROWS = 1000


class Mixture(NamedTuple):
    """What expectation and maximisation found, as plain lists.

    Attributes:
        weights: K.
        means: K×L.
        covariances: K×L×L.
        nll: mean −log p(z) of the latents, nats.
        rounds: of expectation and maximisation that were made.
    """

    weights: list[float]
    means: list[list[float]]
    covariances: list[list[list[float]]]
    nll: float
    rounds: int


def fit_mixture(latents: Tensor, components: int, rounds: int, seed: int) -> Mixture:
    """Fit Gaussians of full covariance by scikit-learn, started from its k-means.

    Args:
        latents: N×L, on any device.
        components: K.
        rounds: of expectation and maximisation, at the most; who needs them all is none the less
            a mixture, and says so by its `rounds`.
        seed: of the start.
    """
    # Slow to import, and needed by this prior alone.
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    mixture = GaussianMixture(components, max_iter=rounds, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        mixture.fit(latents.double().cpu().numpy())
    found = (mixture.weights_, mixture.means_, mixture.covariances_)
    weights, means, covariances = (np.asarray(value).tolist() for value in found)
    nll = -float(mixture.lower_bound_)
    return Mixture(weights, means, covariances, nll, int(mixture.n_iter_))


class MixtureLearner(Learner):
    """Fits the prior in its one step, to the latents of all training items instead of a batch.

    Args:
        model: frozen but for its prior, a `MixturePrior`.
        items: all training items, as stored.
        rounds: see `fit_mixture`.
        seed: of the fit and of the posteriors' noise; the same on all workers.
        computing: how the arithmetic is carried out.

    Raises:
        ValueError: the prior is another.
    """

    def __init__(
        self, model: LatentModel, items: Tensor, rounds: int, seed: int, computing: Computing
    ) -> None:
        super().__init__(computing, seed)
        self.model, self.items = computing.install(model), items
        if not isinstance(model.prior, MixturePrior):
            raise ValueError(f"a prior of class {type(model.prior).__name__} is no mixture")
        self.prior = model.prior
        self.rounds, self.seed = rounds, seed

    def training_step(self, batch: Batch, step: int) -> Metrics:
        self.model.eval()
        found = Mixture(*of_first(self._fit, self.device))
        self.prior.fill(
            *(torch.tensor(value, device=self.device, dtype=torch.float64) for value in found[:3])
        )
        return {
            "nll": torch.tensor(found.nll, device=self.device),
            "rounds": torch.tensor(float(found.rounds), device=self.device),
        }

    def exported(self) -> nn.Module:
        return self.model.eval()

    def parts(self) -> Mapping[str, Stateful]:
        return {"prior": self.prior}

    @torch.no_grad()
    def _fit(self) -> Mixture:
        latents = []
        for part in self.items.split(ROWS):
            with self.computing.autocast():
                x = as_model_input(part, self.device)
                latents.append(self.model.posterior_sample(x, self.generator).z.float())
        return fit_mixture(torch.cat(latents), len(self.prior.means), self.rounds, self.seed)
