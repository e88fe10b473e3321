"""The tables of a page, as rows of text, and its figures as numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from components.metrics.fidelity import frechet_key
from pipelines.comparison.measures import EXTRACTORS, measure_of, signed
from pipelines.runtime.settings import Table
from pipelines.tables.claims import Finding
from pipelines.tables.entrants import Entrant, Training


@dataclass(frozen=True)
class Line:
    """A model's row: its label and name, the cells, and for each whether it is the best there."""

    label: str
    model: str
    cells: tuple[str, ...]
    best: tuple[bool, ...]


@dataclass(frozen=True)
class Sheet:
    """A table: what the columns are, and a line a model."""

    columns: tuple[str, ...]
    lines: tuple[Line, ...]


Better = Callable[[Sequence[float]], float] | None
"""Which of a column's values is the best: `min`, `max`, or None where that is no question."""


class Column(NamedTuple):
    """A column: its title, an entrant's value there (None: it has none), and that as text."""

    title: str
    value: Callable[[Entrant], float | None]
    shown: Callable[[Entrant], str]
    better: Better


def results(table: Table, entrants: Sequence[Entrant]) -> Sheet:
    """Distances beside the dissertation's FID, precision and recall (Tables 3.1 and 3.3)."""
    first, own = entrants[0], table.extractor
    measure = measure_of(frechet_key(own))

    def ratio(entrant: Entrant) -> float:
        return entrant.distance / first.distance

    def paper_ratio(entrant: Entrant) -> float | None:
        ours, firsts = entrant.row.paper_fid, first.row.paper_fid
        return None if ours is None or firsts is None else ours / firsts

    columns = [
        Column(
            measure.title,
            lambda each: each.distance,
            lambda each: measure.show(each.distance, each.figures.get(f"{measure.key}_std")),
            min,
        ),
        _plain(f"× {first.row.label}", ratio, 2, None),
        _plain("FID, dissertation", lambda each: each.row.paper_fid, 1, min),
        _plain(f"× {first.row.label}, dissertation", paper_ratio, 2, None),
        _with_deviation("F₈, recall", f"f8_{own}", 3),
        _with_deviation("F₁/₈, precision", f"f1_8_{own}", 3),
        _figure("Reconstruction error", "reconstruction_mse", 5, min),
    ]
    return _sheet(columns, entrants)


def latents(entrants: Sequence[Entrant]) -> Sheet:
    """What is known of the latents of the test images."""
    return _sheet(
        [
            _figure("Scale of z", "latent_scale", 4),
            _figure("NLL, nats", "latent_nll", 2),
            _figure("Bits per dimension", "latent_bits_per_dim", 3),
            _figure("−Σ log σ / 2", "posterior_entropy_figure", 2),
            _figure("Posterior variance", "posterior_variance", 6),
            _figure("To nearest training image", "neighbour_distance", 2),
        ],
        entrants,
    )


def chains(entrants: Sequence[Entrant]) -> Sheet:
    """What chains do when they are run on, and the energies of data and samples."""

    def share(key: str) -> Callable[[Entrant], str]:
        def shown(each: Entrant) -> str:
            value = each.figures.get(key)
            return number(None if value is None else 100.0 * value, 1)

        return shown

    def gap(each: Entrant) -> float | None:
        there = each.figures
        return there["energy_samples"] - there["energy_test"] if "energy_test" in there else None

    def drift(each: Entrant) -> float | None:
        """Of the longest chains."""
        keys = [key for key in each.figures if key.startswith("chain_drift_") and key[-1] == "x"]
        longest = max(keys, key=lambda key: int(key.split("_")[-1][:-1]), default="")
        return each.figures.get(longest)

    return _sheet(
        [
            _plain("Energy gap, nats", gap, 2, None),
            _figure("R-hat", "chain_r_hat", 2),
            Column("ESS, % of draws", lambda _: None, share("chain_ess_share"), None),
            Column("MALA, %", lambda _: None, share("chain_acceptance"), None),
            _plain("Drift", drift, 4, min),
            _figure("Drift, floor", "chain_drift_floor", 4),
            _figure("To nearest training image", "neighbour_distance", 2),
        ],
        entrants,
    )


def costs(entrants: Sequence[Entrant]) -> Sheet:
    """What training took (Table 3.5); first / second stage where there are two."""

    def both(shown: Callable[[Training], str]) -> Callable[[Entrant], str]:
        return lambda each: " / ".join(shown(training) for training in each.trainings)

    def cells(title: str, shown: Callable[[Training], str]) -> Column:
        return Column(title, lambda _: None, both(shown), None)

    return _sheet(
        [
            cells("Steps", lambda each: f"{each.steps:,}"),
            cells("Batch", lambda each: f"{each.batch_size:,}"),
            cells("Kept step", lambda each: f"{each.kept_step:,}"),
            cells("Roll-backs", lambda each: str(each.rollbacks)),
            cells("Seconds an epoch", lambda each: number(each.epoch_seconds, 1)),
            cells("Seconds in all", lambda each: number(each.seconds, 0)),
        ],
        entrants,
    )


def reference(table: Table, entrants: Sequence[Entrant]) -> tuple[tuple[str, str], ...]:
    """What real images reach: the distance's floor, and the ceilings of recall and precision."""
    own, figures = table.extractor, entrants[0].figures
    measure = measure_of(frechet_key(own))
    return (
        ("floor of the distance", measure.show(figures[f"{measure.key}_floor"])),
        ("ceiling of F₈", number(figures.get(f"f8_{own}_ceiling"), 3)),
        ("ceiling of F₁/₈", number(figures.get(f"f1_8_{own}_ceiling"), 3)),
    )


def numbers(
    table: Table, entrants: Sequence[Entrant], found: Sequence[Finding]
) -> dict[str, float | bool]:
    """The page as numbers.

    Returns:
        ``MODEL_frechet``, ``MODEL_frechet_std``, ``MODEL_f8`` and ``MODEL_f1_8`` of the table's
        extractor, ``frechet_floor``, and of each claim ``CLAIM`` (whether it holds) and
        ``CLAIM_within_noise``.
    """
    own = table.extractor
    flat: dict[str, float | bool] = {}
    for each in entrants:
        name = each.row.model
        flat[f"{name}_frechet"] = each.distance
        flat[f"{name}_frechet_std"] = each.deviation
        flat[f"{name}_f8"] = each.figures[f"f8_{own}"]
        flat[f"{name}_f1_8"] = each.figures[f"f1_8_{own}"]
    flat["frechet_floor"] = entrants[0].figures[f"{frechet_key(own)}_floor"]
    for finding in found:
        flat[finding.key] = finding.holds
        flat[f"{finding.key}_within_noise"] = finding.within_noise
    return flat


def extractor_title(table: Table) -> str:
    """The table's extractor for the reader."""
    return EXTRACTORS.get(table.extractor, table.extractor)


def number(value: float | None, digits: int) -> str:
    """A value with a true minus sign; a dash where there is none.

    >>> number(-1234.5, 1), number(None, 2), number(2.5e-05, 4)
    ('−1,234.5', '–', '2.5e−05')
    """
    if value is None:
        return "–"
    lost = value != 0 and abs(value) < 10.0 ** (1 - digits)
    return signed(f"{value:.2g}" if lost and digits else f"{value:,.{digits}f}")


def _plain(
    title: str, value: Callable[[Entrant], float | None], digits: int, better: Better
) -> Column:
    return Column(title, value, lambda each: number(value(each), digits), better)


def _figure(title: str, key: str, digits: int, better: Better = None) -> Column:
    return _plain(title, lambda each: each.figures.get(key), digits, better)


def _with_deviation(title: str, key: str, digits: int) -> Column:
    def shown(each: Entrant) -> str:
        deviation = each.figures.get(f"{key}_std")
        text = f"{each.figures[key]:.{digits}f}"
        return text if deviation is None else f"{text} ± {deviation:.{digits}f}"

    return Column(title, lambda each: each.figures[key], shown, max)


def _sheet(columns: Sequence[Column], entrants: Sequence[Entrant]) -> Sheet:
    best = [_best(column, entrants) for column in columns]
    lines = tuple(
        Line(
            each.row.label,
            each.row.model,
            tuple(column.shown(each) for column in columns),
            tuple(
                limit is not None and column.value(each) == limit
                for column, limit in zip(columns, best, strict=True)
            ),
        )
        for each in entrants
    )
    return Sheet(tuple(column.title for column in columns), lines)


def _best(column: Column, entrants: Sequence[Entrant]) -> float | None:
    there = [found for each in entrants if (found := column.value(each)) is not None]
    return column.better(there) if column.better is not None and there else None
