"""Pictures of a model's items, whatever they are, for MLflow."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from components.images import quantise
from components.plots.densities import scatter_panels
from components.plots.grids import enlargement, figure_to_array, image_grid

COLUMNS = 8


def picture_of(items: Tensor) -> np.ndarray[Any, Any]:
    """A grid of images or a scatter of points.

    Args:
        items: float32, N×C×H×W in [0, 1], or N×2.

    Returns:
        uint8, H×W×3.
    """
    if items.dim() == 4:
        return image_grid(quantise(items).cpu(), COLUMNS, enlargement(items.shape[-1]))
    extent = float(items.abs().max()) * 1.05
    return figure_to_array(scatter_panels({"samples": items.cpu().numpy()}, extent))
