"""Settings of the judges: reference features, samples to draw, metrics, report."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipelines.runtime.settings.base import Amount, Count, Positive, Settings
from pipelines.runtime.settings.composing import Langevin
from pipelines.runtime.settings.training import Optimiser, Plan

CLASSIFIER = "classifier"
Extractor = Literal["classifier", "imagenet", "inception-v3-compat"]


class ClassifierTraining(Settings):
    """The data set's own classifier."""

    seed: Amount
    width: Count  # channels of the first layer
    optimiser: Optimiser
    plan: Plan


class ImageFeatures(Settings):
    """The features of a data set's train and test images, and its own classifier."""

    kind: Literal["images"]
    count: Count  # images of each split whose features are kept, at the most
    extractors: Annotated[list[Extractor], Field(min_length=1)]
    inception_weights: str | None  # path; null: torch-fidelity's own download
    classifier: ClassifierTraining | None  # null for a data set without labels

    @model_validator(mode="after")
    def _classifier_is_there(self) -> ImageFeatures:
        if (CLASSIFIER in self.extractors) != (self.classifier is not None):
            raise ValueError(
                "extractors with `classifier` and a section `classifier`, or neither of them"
            )
        return self


class StackedFeatures(Settings):
    """The features of images whose channels are digits, by the classifier of single digits."""

    kind: Literal["stacked-images"]
    count: Count  # images of each split whose features are kept, at the most
    digits: str  # data set whose features stage has made the classifier
    extractors: list[Literal["classifier"]]
    inception_weights: None


class PointFeatures(Settings):
    """The true density's figures on the test points."""

    kind: Literal["points"]


Features = Annotated[ImageFeatures | StackedFeatures | PointFeatures, Field(discriminator="kind")]


class Draws(Settings):
    """How much is drawn from a model."""

    count: Count  # items of a draw
    draws: Count  # independent draws, for the deviation of the metrics
    seed: Amount
    batch_size: Count  # items of one call


class Sample(Draws):
    """Samples of one model."""

    # A composition's test-time chain; null for a base, and for a short-run EBM's own steps.
    langevin: Langevin | None
    chain_states: Amount  # states of a chain shown in the pictures; 0: none


class Outsiders(Settings):
    """Data sets that the model should find unlikely."""

    near: str
    far: str


class PointEvaluate(Settings):
    """Likelihood, modes and pictures of a two-dimensional density."""

    kind: Literal["points"]
    data: str
    outsiders: Outsiders
    test_count: Count  # test points of the likelihood
    iwae_samples: Count  # posterior samples of the base's bound (K)
    grid: Count  # nodes of a side of the grid on which log Z is integrated
    grid_samples: Count  # shared prior samples that give the base's density on the grid
    extent: Positive  # the grid covers [-extent, extent]²
    mode_radius: Positive  # σ: farther from every mode is off-mode


class ChainDiagnosis(Settings):
    """Langevin chains run on for longer than in training, or than in sampling: do they mix?"""

    chains: Annotated[int, Field(ge=2)]  # side by side
    multiples: Annotated[list[Count], Field(min_length=1)]  # of the steps, from 2 up: how long
    every: Count  # steps between those kept; all of them are held at once
    projections: Amount  # random directions of the state that are followed beside the energy
    directions: Count  # of the sliced Wasserstein distance between items


class ImageEvaluate(Settings):
    """Distances of samples from data, and detection of what is not data."""

    kind: Literal["images"]
    data: str
    outsiders: Outsiders
    ood_count: Count  # images of each set whose log-density is compared
    bound_samples: Count  # posterior samples of the base's bound (K)
    diagnosis: ChainDiagnosis | None  # of a composition's chains


class DistributionRecall(Settings):
    """Precision and recall of distributions (Sajjadi et al., https://arxiv.org/abs/1806.00035)."""

    clusters: Count  # of one k-means; 20 in the paper
    runs: Count  # clusterings that are averaged; 10 in the paper


class Neighbourhood(Settings):
    """Samples beside their nearest training images (Figure 3.4)."""

    samples: Count
    nearest: Count  # training images of each; 5 in the figure


class Interpolation(Settings):
    """Lines between two noises: straight (Figure 3.3) or, of a chain's starts, the arc of 5.1.1."""

    lines: Count
    points: Annotated[int, Field(ge=2)]  # images of a line, both ends included


class GalleryEvaluate(Settings):
    """Images judged by distances, and shown beside their neighbours and between two noises."""

    data: str
    extractors: Annotated[list[Extractor], Field(min_length=1)]  # of the data set's features
    inception_weights: str | None  # path; null: torch-fidelity's own download
    precision_recall: DistributionRecall
    neighbours: Neighbourhood
    interpolations: Interpolation


class LatentEvaluate(GalleryEvaluate):
    """An auto-encoder with a law of its latents: samples, reconstructions, latents (chapter 3)."""

    kind: Literal["latent-images"]
    latent_count: Count  # test images that are encoded, at the most


class Average(Settings):
    """The same workflow from several training seeds."""

    models: Annotated[list[str], Field(min_length=2)]


class Comparison(Settings):
    """A base beside its composition: a section of a page."""

    page: str  # entry of `report` that shows it
    title: str
    base: str
    composition: str
    data: str
    paper: dict[str, float]  # the dissertation's figures


class StudyLink(Settings):
    """A page of a study that a report names."""

    title: str
    page: str  # below report/
    command: str  # that makes it


class Report(Settings):
    """A page, report/NAME.html."""

    title: str
    studies: list[StudyLink]


class TableRow(Settings):
    """A model of a table."""

    model: str
    label: str  # for the reader
    paper_fid: Positive | None  # the dissertation's; null: it has none


class Claim(Settings):
    """Something that the dissertation says of the order of models."""

    says: str
    falling: Annotated[list[str], Field(min_length=2)]  # models, from the greatest distance down
    towards: str | None  # model: it is the gap to its distance that falls; null: the distance


class Curve(Settings):
    """A logged figure of several trainings in one panel (Figures 3.6 and 3.7)."""

    title: str
    column: str  # of plots/STAGE/MODEL/training.csv or validation.csv
    models: Annotated[list[str], Field(min_length=1)]


class Table(Settings):
    """Models of one data set side by side (Tables 3.1, 3.3 and 3.5): a page of its own."""

    title: str
    data: str
    workflow: str  # dvc.yaml whose stages make the models
    extractor: Extractor  # whose Fréchet distance ranks the models
    rows: Annotated[list[TableRow], Field(min_length=2)]
    claims: dict[str, Claim]
    curves: list[Curve]

    @model_validator(mode="after")
    def _models_are_rows(self) -> Table:
        rows = {row.model for row in self.rows}
        named = {name for claim in self.claims.values() for name in claim.falling}
        named |= {claim.towards for claim in self.claims.values() if claim.towards is not None}
        named |= {name for curve in self.curves for name in curve.models}
        if unknown := sorted(named - rows):
            raise ValueError(f"claims and curves of models in rows; not there: {unknown[0]}")
        return self
