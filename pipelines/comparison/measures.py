"""What a figure's key means: its name for the reader, its direction, its format."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

FIGURES = 4
"""Of a value from 10 on, as many are shown."""
Better = Literal["lower", "higher"]
Change = Literal["ratio", "difference"]

EXTRACTORS = {
    "classifier": "own classifier",
    "imagenet": "ImageNet features",
    "inception-v3-compat": "Inception-v3",
}


@dataclass(frozen=True)
class Measure:
    """How a figure is shown.

    Attributes:
        title: for the reader.
        better: which way is better.
        change: how two values of it are compared: composition over base, or their difference.
        digits: after the decimal point; fewer of values from 10 on.
        percent: it is a fraction, shown in per cent.
        key: of the metrics files.
    """

    title: str
    better: Better
    change: Change
    digits: int
    percent: bool = False
    key: str = ""

    def show(self, value: float | None, deviation: float | None = None) -> str:
        """A value, and its deviation where it is known.

        >>> measure_of("fid").show(138.14), measure_of("off_mode_fraction").show(0.125, 0.01)
        ('138.1', '12.50 ± 1.00 %')
        >>> measure_of("fid").show(None)
        '–'
        """
        if value is None:
            return "–"
        scale, unit = (100.0, " %") if self.percent else (1.0, "")
        whole = len(f"{abs(value * scale):.0f}")
        digits = self.digits if whole < 2 else min(self.digits, max(FIGURES - whole, 0))
        text = f"{value * scale:.{digits}f}"
        if deviation is not None:
            text += f" ± {deviation * scale:.{digits}f}"
        return signed(text + unit)

    def change_of(self, base: float, composition: float) -> float | None:
        """The composition's value over the base's, or less the base's; None: no such ratio."""
        if self.change == "difference":
            return composition - base
        return composition / base if base > 0 else None

    def show_change(self, base: float | None, composition: float | None) -> str:
        """The change for the reader.

        >>> measure_of("fid").show_change(50.0, 20.0), measure_of("log_z").title
        ('× 0.40', 'log z')
        """
        change = None if base is None or composition is None else self.change_of(base, composition)
        if change is None:
            return "–"
        if self.change == "ratio":
            return f"× {change:.{2 if change >= 0.1 else 3}f}"
        scale, unit = (100.0, " pp") if self.percent else (1.0, "")
        return signed(f"{change * scale:+.{self.digits}f}{unit}")

    def improves(self, base: float, composition: float) -> bool:
        """Whether the composition's value is the better one."""
        return composition < base if self.better == "lower" else composition > base


FAMILIES: tuple[tuple[str, Measure], ...] = (
    ("log_likelihood", Measure("Test log-likelihood, nats", "higher", "difference", 3)),
    (
        "high_quality_fraction",
        Measure("Points within 3σ of a mode", "higher", "difference", 2, True),
    ),
    ("off_mode_fraction", Measure("Points off every mode", "lower", "ratio", 2, True)),
    ("modes", Measure("Modes covered", "higher", "difference", 1)),
    ("mode_kl", Measure("KL of the modes' shares, nats", "lower", "ratio", 4)),
    ("fid", Measure("FID, Inception-v3", "lower", "ratio", 2)),
    ("frechet_", Measure("Fréchet distance, {}", "lower", "ratio", 2)),
    ("kid_", Measure("KID, {}", "lower", "ratio", 5)),
    ("is_", Measure("Inception-like score, {}", "higher", "difference", 3)),
    ("precision_", Measure("Precision, {}", "higher", "difference", 3)),
    ("recall_", Measure("Recall, {}", "higher", "difference", 3)),
    ("auroc_", Measure("AUROC against {}", "higher", "difference", 3)),
)
"""Key, or its beginning where it ends in the name of an extractor or a data set; as shown."""
BESIDE = ("_std", "_floor", "_std_error", "_true")
"""Endings of keys that say something about another key."""
ORDER = tuple(key for key, _ in FAMILIES if key != "auroc_")


def signed(text: str) -> str:
    """A number's text with a true minus sign.

    >>> signed("-1.5")
    '−1.5'
    """
    return text.replace("-", "−")


def measure_of(key: str) -> Measure:
    """How the figure of a key is shown; one that is not known is shown by its key.

    >>> measure_of("frechet_imagenet").title
    'Fréchet distance, ImageNet features'
    """
    for name, measure in FAMILIES:
        if key == name:
            return replace(measure, key=key)
        if name.endswith("_") and key.startswith(name):
            rest = key.removeprefix(name)
            title = measure.title.format(EXTRACTORS.get(rest, rest))
            return replace(measure, key=key, title=title)
    return Measure(key.replace("_", " "), "higher", "difference", 3, key=key)


def headline_keys(keys: set[str]) -> list[str]:
    """Those keys that judge samples or likelihood, in the order in which they are shown.

    >>> headline_keys({"kid_x", "frechet_x", "frechet_x_std", "nfe", "auroc_mnist"})
    ['frechet_x', 'kid_x']
    """
    shown: list[str] = []
    for family in ORDER:
        prefixed = family.endswith("_")
        shown += sorted(
            key
            for key in keys
            if (key.startswith(family) if prefixed else key == family) and not key.endswith(BESIDE)
        )
    return shown
