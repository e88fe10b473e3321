"""The pictures of a comparison, drawn from arrays and put into the page as data URIs."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from components.plots.chains import image_chain, point_chain
from components.plots.curves import training_overview
from components.plots.densities import density_panels, scatter_panels
from components.plots.grids import Pixels, enlargement, image_grid, png_bytes
from components.plots.histograms import bars
from pipelines.comparison.inputs import Chain, Model, Pair
from pipelines.comparison.measures import measure_of

COLUMNS, ROWS = 10, 10
POINTS = 5000
CHAINS = 8


@dataclass(frozen=True)
class Picture:
    """A picture in the page.

    Attributes:
        source: data URI.
        text: what it shows: the caption, and the text for those who do not see it.
        pixels: it is made of images, whose pixels should stay sharp.
    """

    source: str
    text: str
    pixels: bool = False


def data_uri(png: bytes) -> str:
    """A PNG file inside of a page."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def samples(pair: Pair) -> list[Picture]:
    """Data, base and composition side by side (Figures 4.5 and 4.6)."""
    shown = {
        "data": (pair.real, "test items of the data set"),
        "base": (pair.base.items, f"samples of the base, {pair.base.name}"),
        "composition": (
            pair.composition.items,
            f"samples of the composition, {pair.composition.name}",
        ),
    }
    if pair.judging.kind == "points":
        count = min(POINTS, *(len(items) for items, _ in shown.values()))
        clouds = {role: items[:count] for role, (items, _) in shown.items()}
        text = f"{count:,} test points, and as many samples of the base and of the composition"
        return [_drawn(scatter_panels(clouds, pair.judging.extent), text)]
    return [
        _drawn(image_grid(items[: COLUMNS * ROWS], COLUMNS, enlargement(items.shape[-1])), text)
        for items, text in shown.values()
    ]


def chain(pair: Pair) -> Picture | None:
    """Chains of the composition, from the base's samples on (Figure 4.11)."""
    found = pair.composition.chain
    if found is None:
        return None
    if pair.judging.kind == "points":
        figure = point_chain(found.states, found.steps, pair.judging.extent)
        text = f"{found.states.shape[1]:,} chains, started at samples of the base, after"
        return _drawn(figure, f"{text} {_listed(found)} Langevin steps")
    states = found.states[:, :CHAINS]
    text = "One chain a row, started at a sample of the base (left); columns are Langevin steps"
    return _drawn(image_chain(states, found.steps, enlargement(states.shape[-1])), text)


def densities(pair: Pair) -> list[Picture]:
    """The true density and both models', on one colour scale; none for images."""
    if pair.judging.kind != "points":
        return []
    panels = {
        "truth": pair.composition.densities["truth"],
        "base": pair.base.densities["model"],
        "composition": pair.composition.densities["model"],
    }
    text = f"the true density, that of the base, {pair.base.name}, and that of the composition"
    return [_drawn(density_panels(panels, pair.judging.extent), text)]


def score_laws(pair: Pair) -> list[Picture]:
    """The evaluate stage's histograms of scores (Figure 4.18 and the laws behind Table 4.8)."""
    likelihood = "log p(x) + constant of train and test images under the {role}, {name}"
    outsiders = "log p(x) + constant of what is not data, over that of the test images: {role}"
    return _judged(pair, "likelihood", likelihood) + _judged(pair, "ood", outsiders)


def distances(pair: Pair) -> list[Picture]:
    """Bars of each distance between samples and test images, with the floor of real data."""
    base, composition = pair.base.figures, pair.composition.figures
    both = base.keys() & composition.keys()
    keys = sorted(
        key
        for key in both
        if (key == "fid" or key.startswith("frechet_")) and not key.endswith(("_std", "_floor"))
    )
    pictures = []
    for key in keys:
        title = measure_of(key).title
        values = {
            "base": (base[key], base.get(f"{key}_std")),
            "composition": (composition[key], composition.get(f"{key}_std")),
        }
        figure = bars(values, "lower is better", composition.get(f"{key}_floor"))
        pictures.append(_drawn(figure, f"{title}; ± standard deviation over draws"))
    return pictures


def training(model: Model) -> Picture:
    """Training curves, with the step whose weights were kept (Figure 5.9)."""
    figure = training_overview(*model.curves, mark=model.kept_step, diverged=model.diverged)
    return _drawn(figure, f"training of {model.name}, kept at step {model.kept_step}")


def _judged(pair: Pair, stem: str, text: str) -> list[Picture]:
    models: Mapping[str, Model] = {"base": pair.base, "composition": pair.composition}
    return [
        Picture(data_uri(model.pictures[stem]), text.format(role=role, name=model.name))
        for role, model in models.items()
        if stem in model.pictures
    ]


def _drawn(picture: Pixels | Figure, text: str) -> Picture:
    return Picture(data_uri(png_bytes(picture)), text, pixels=isinstance(picture, np.ndarray))


def _listed(found: Chain) -> str:
    *first, last = [str(step) for step in found.steps]
    return f"{', '.join(first)} and {last}" if first else last
