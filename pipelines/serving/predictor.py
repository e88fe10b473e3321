"""What an MLflow model of this project does when it is loaded: draw items, or score given ones.

MLflow keeps this file and `components` beside the weights and runs the file to load the model
("models from code"), so that nothing is unpickled and neither the checkout nor `pipelines` is
needed there.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext
from torch import Tensor

from components.errors import UserError
from components.images import quantise, to_unit
from components.models.ddpm import DDPM, DDPMSampler
from components.models.denoising_gan import DenoisingGAN
from components.models.export import load_model
from components.models.gradient_flow import GradientFlow
from components.models.latent_model import LatentModel
from components.models.plain_gan import PlainGAN
from components.models.short_run import ShortRunEBM
from components.models.vae import VAE
from components.models.vaebm import VAEBM
from components.samplers.langevin import LangevinSettings

ROWS = 500
Denoising = DenoisingGAN | DDPM | PlainGAN
Items = np.ndarray[Any, np.dtype[Any]]


class Predictor(PythonModel):
    """A generative model of any family behind MLflow's `predict`."""

    def load_context(self, context: PythonModelContext) -> None:
        """Rebuild the exported model, on a GPU if there is one."""
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        model = load_model(Path(context.artifacts["exported"]), self.device)
        assert isinstance(model, VAE | VAEBM | ShortRunEBM | GradientFlow | LatentModel | Denoising)
        self.model = model
        self.shape = (model.base if isinstance(model, VAEBM) else model).shape
        self.chain: dict[str, Any] = context.model_config["chain"]

    def predict(
        self,
        context: PythonModelContext,
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> Items:
        """Draw items, or score those that are given.

        Args:
            context: not used.
            model_input: to draw, each row a request with the columns ``count`` and, if its items
                are not to be those of seed 0, ``seed``. To score, a column ``items`` with one item
                a row: a uint8 image C×H×W (array or nested lists), or a point's D numbers.
            params: ``steps``, ``step_size``, ``noise_scale``, ``temperature`` of a chain; ``kind``,
                ``steps``, ``eta``, ``tolerance`` of a diffusion model's sampler;
                ``bound_samples`` and ``bound_seed`` of the scores.

        Returns:
            The items drawn, request after request: uint8 N×C×H×W, or float32 N×D. For given items
            their scores, float32 N, nats: a lower bound of log p(x), for a composition up to the
            constant -log Z; log p(x) itself for a gradient flow.

        Raises:
            UserError: neither ``count`` nor ``items``, items of another shape or kind, or scores
                of a model that has none.
        """
        chosen = params or {}
        if "items" in model_input:
            return self._scores(self._given(model_input["items"]), chosen)
        if "count" not in model_input:
            raise UserError(
                "give a column `count` to draw items, or a column `items` to score them"
            )
        seeds = model_input["seed"] if "seed" in model_input else [0] * len(model_input)
        drawn = [
            self._draw(int(count), int(seed), chosen)
            for count, seed in zip(model_input["count"], seeds, strict=True)
        ]
        return torch.cat(drawn).numpy()

    def _draw(self, count: int, seed: int, chosen: dict[str, Any]) -> Tensor:
        generator = torch.Generator(self.device).manual_seed(seed)
        parts = [torch.empty(0, *self.shape)]
        for first in range(0, count, ROWS):
            rows = min(ROWS, count - first)
            if isinstance(self.model, VAEBM | ShortRunEBM):
                chain = {key: chosen.get(key, value) for key, value in self.chain.items()}
                samples = self.model.sample(rows, generator, LangevinSettings(**chain))
                parts.append(samples.items.cpu())
            elif isinstance(self.model, DDPM):
                own = asdict(self.model.sampler)
                sampler = DDPMSampler(**{key: chosen.get(key, own[key]) for key in own})
                parts.append(self.model.sample(rows, generator, sampler=sampler).items.cpu())
            elif isinstance(self.model, DenoisingGAN | PlainGAN):
                parts.append(self.model.sample(rows, generator).items.cpu())
            else:
                parts.append(self.model.sample(rows, generator).cpu())
        items = torch.cat(parts)
        return quantise(items) if items.dim() == 4 else items.float()

    @torch.no_grad()
    def _scores(self, items: Tensor, chosen: dict[str, Any]) -> Items:
        if isinstance(self.model, LatentModel | ShortRunEBM | Denoising):
            raise UserError(
                "this model has no bound of log p(x): it draws items, give a column `count`"
            )
        if isinstance(self.model, GradientFlow):
            exact = [self.model.log_prob(part.to(self.device)) for part in items.split(ROWS)]
            return torch.cat(exact).cpu().numpy()
        generator = torch.Generator(self.device).manual_seed(chosen["bound_seed"])
        parts = [
            self.model.log_prob_bound(part.to(self.device), chosen["bound_samples"], generator)
            for part in items.split(ROWS)
        ]
        return torch.cat(parts).cpu().numpy()

    def _given(self, column: pd.Series[Any]) -> Tensor:
        """Items of a column, in the range of the models."""
        items = np.asarray([np.asarray(item) for item in column])
        images = len(self.shape) == 3
        if items.shape[1:] != self.shape:
            raise UserError(f"items have the shape {self.shape}, not {items.shape[1:]}")
        if not images:
            return torch.as_tensor(items, dtype=torch.float32)
        if items.dtype.kind not in "iu" or items.min() < 0 or items.max() > 255:
            raise UserError("images are whole numbers from 0 to 255")
        return to_unit(torch.as_tensor(items.astype(np.uint8)))


set_model(Predictor())
