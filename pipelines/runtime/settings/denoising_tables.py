"""Settings of the tables and figures of denoising models (chapter 6)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipelines.runtime.settings.base import Amount, Count, Positive, Settings
from pipelines.runtime.settings.judging import Curve


class DenoisingRow(Settings):
    """A way to draw items."""

    name: str  # entry of `evaluate`, whose pictures are shown
    figures: Annotated[str, Field(pattern=r"^(evaluate|average)/[^/]+$")]  # file of metrics/
    label: str  # for the reader


class DenoisingColumn(Settings):
    """A figure of all rows."""

    key: str  # of the rows' metrics
    title: str
    digits: Amount  # after the decimal point
    best: Literal["least", "most"] | None  # which value is marked


class DenoisingOrder(Settings):
    """Something that the dissertation says of the order of rows."""

    says: str
    key: str  # of the rows' metrics
    rising: Annotated[list[str], Field(min_length=2)]  # names of rows, from the least value up


class LossCurves(Settings):
    """A discriminator's losses through training (Figure 6.10)."""

    title: str
    model: str  # entry of `pretrain`
    columns: Annotated[list[str], Field(min_length=1)]  # of plots/pretrain/MODEL/training.csv


class DenoisingTable(Settings):
    """Denoising models of one data set side by side: a page of its own (Tables 6.1 and 6.3)."""

    title: str
    data: str
    workflow: str  # dvc.yaml whose stages make the models
    extent: Positive | None  # of points: pictures cover [-extent, extent]²; null: images
    rows: Annotated[list[DenoisingRow], Field(min_length=2)]
    columns: Annotated[list[DenoisingColumn], Field(min_length=1)]
    orders: dict[str, DenoisingOrder]
    losses: LossCurves
    progress: Curve  # of two models: whose plots the stage reads

    @model_validator(mode="after")
    def _orders_are_of_rows(self) -> DenoisingTable:
        named = {name for order in self.orders.values() for name in order.rising}
        if unknown := sorted(named - {row.name for row in self.rows}):
            raise ValueError(f"orders of names in rows; not there: {unknown[0]}")
        return self


class TradeOffPoint(Settings):
    """A way to draw items, on the map of quality and time."""

    name: str  # entry of `evaluate`
    family: str  # points of a family are joined by a line


class TradeOff(Settings):
    """Quality against sampling time (Figure 6.6)."""

    workflow: str  # dvc.yaml whose stages make the models
    quality: str  # key of metrics/evaluate/NAME.json; the less the better
    measure: str  # what it is, for the reader
    count: Count  # items behind the quality of all points: distances depend on it
    points: Annotated[list[TradeOffPoint], Field(min_length=2)]
