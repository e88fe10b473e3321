"""What the stages left about one model, read and checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.datasets.shards import read_split
from components.errors import UserError
from pipelines.comparison.files import (
    Array,
    Figures,
    read_array,
    read_arrays,
    read_diverged,
    read_json,
    read_pictures,
    read_rows,
)
from pipelines.runtime.settings import Comparison, Evaluate, Params, entry


@dataclass(frozen=True)
class Chain:
    """Kept states of some chains: S×n×C×H×W uint8 or S×n×2 float32, and their S step numbers."""

    states: Array
    steps: list[int]


@dataclass(frozen=True)
class Model:
    """A trained, sampled and judged model.

    Attributes:
        name: its entry's name.
        stage: ``pretrain`` or ``compose``.
        kept_step: step of the exported weights.
        settings: its entries of params.yaml by section, as plain values.
        figures: of the evaluate stage.
        training: figures of the stage that trained it.
        sampling: figures of the sample stage.
        curves: rows of training.csv and of validation.csv.
        diverged: rows of the attempts that were rolled back.
        items: first draw; uint8 N×C×H×W, or float32 N×2.
        chain: states of some chains; None for a base.
        pictures: PNG files of the evaluate stage, by stem.
        densities: of points, the true one and the model's, R×R over the map; empty for images.
    """

    name: str
    stage: str
    kept_step: int
    settings: Mapping[str, Any]
    figures: Figures
    training: Figures
    sampling: Figures
    curves: tuple[list[dict[str, float]], list[dict[str, float]]]
    diverged: list[dict[str, float]]
    items: Array
    chain: Chain | None
    pictures: Mapping[str, bytes]
    densities: Mapping[str, Array]

    @property
    def command(self) -> str:
        """The command that makes all of this again, if something changed."""
        return f"dvc repro evaluate@{self.name}"


@dataclass(frozen=True)
class Pair:
    """A base beside its composition, and the data that both learned.

    Attributes:
        name: of the comparison.
        title: of its section.
        base: the base.
        composition: the composition.
        judging: the evaluate stage's settings of the composition.
        judge: figures of the features stage (the classifier's accuracy, the true likelihood).
        paper: the dissertation's figures: ``base_KEY``, ``composition_KEY``, ``truth_KEY``.
        real: test items; uint8 N×C×H×W, or float32 N×2.
    """

    name: str
    title: str
    base: Model
    composition: Model
    judging: Evaluate
    judge: Figures
    paper: Mapping[str, float]
    real: Array


def read_pair(name: str, comparison: Comparison, params: Params) -> Pair:
    """Read all that a comparison shows.

    Raises:
        UserError: a file is missing or broken; names it and the command that makes it. Or the
            settings compare what cannot be compared.
    """
    judging = _comparable(name, comparison, params)
    return Pair(
        name=name,
        title=comparison.title,
        base=read_model(comparison.base, params),
        composition=read_model(comparison.composition, params),
        judging=judging,
        judge=read_json(
            Path("metrics/features") / f"{judging.data}.json", f"features@{judging.data}"
        ),
        paper=comparison.paper,
        real=read_split(Path("data/shards") / judging.data, "test").x.numpy(),
    )


def read_model(name: str, params: Params) -> Model:
    """Read what all stages left about a model.

    Raises:
        UserError: a file is missing or broken; names it and the command that makes it.
    """
    stage = "compose" if name in params.compose else "pretrain"
    trained, sampled, judged = f"{stage}@{name}", f"sample@{name}", f"evaluate@{name}"
    curves, samples = Path("plots") / stage / name, Path("samples") / name
    plots, numbers = Path("plots/evaluate") / name, Path("judged") / name
    judging = entry(params.evaluate, "evaluate", name)
    training = read_json(Path("metrics") / stage / f"{name}.json", trained)
    sampling = read_json(samples / "sampling.json", sampled)
    return Model(
        name=name,
        stage=stage,
        kept_step=_kept_step(training, trained),
        settings={
            section: entry(getattr(params, section), section, name).model_dump(mode="json")
            for section in (stage, "sample", "evaluate")
        },
        figures=read_json(Path("metrics/evaluate") / f"{name}.json", judged),
        training=training,
        sampling=sampling,
        curves=(
            read_rows(curves / "training.csv", trained),
            read_rows(curves / "validation.csv", trained),
        ),
        diverged=read_diverged(curves, trained),
        items=read_array(samples / "draw-0.npy", sampled),
        chain=_chain(samples, sampling.get("chain_steps") or [], sampled),
        pictures=read_pictures(plots, judged),
        densities=read_arrays(numbers / "density.npz", judged) if judging.kind == "points" else {},
    )


def _comparable(name: str, comparison: Comparison, params: Params) -> Evaluate:
    composition = entry(params.compose, "compose", comparison.composition)
    if composition.base != comparison.base:
        raise UserError(
            f"comparison {name}: {comparison.composition} is made on "
            f"{composition.base}, not on {comparison.base}"
        )
    judging = entry(params.evaluate, "evaluate", comparison.composition)
    other = entry(params.evaluate, "evaluate", comparison.base)
    if other != judging:
        raise UserError(
            f"comparison {name}: evaluate.{comparison.base} and "
            f"evaluate.{comparison.composition} differ: judge both by the same settings"
        )
    if judging.data != comparison.data:
        raise UserError(
            f"comparison {name}: its data are {comparison.data}, but evaluate."
            f"{comparison.composition} judges on {judging.data}"
        )
    return judging


def _kept_step(training: Figures, target: str) -> int:
    try:
        return int(training["kept_step"])
    except KeyError:
        raise UserError(
            f"no kept_step in the figures of {target}: run dvc repro {target}"
        ) from None


def _chain(folder: Path, steps: list[int], target: str) -> Chain | None:
    return Chain(read_array(folder / "chain.npy", target), steps) if steps else None
