"""Make what the judges of a data set need: features.NAME of the settings.

Images: trains the data set's own classifier and keeps the features of train and test images under
each extractor. Points: keeps the true density's log-likelihood of the test points.
Writes models/features/NAME and metrics/features/NAME.json.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from components.datasets.loading import split_validation
from components.datasets.shards import Manifest, Split, read_split
from components.datasets.toy import density
from components.errors import UserError
from components.files import whole_folder
from components.learners.classification import ClassificationLearner
from components.learners.learner import as_model_input
from components.metrics.extractors import Classifier, extract_features
from components.metrics.stacked import stacked_coverage
from components.models.build import build_model, seeded
from components.models.export import export_model, load_model, read_story
from components.networks.classifier import StackedClassifier
from pipelines.judging.references import load_extractors, write_reference
from pipelines.runtime.builders import (
    computing_of,
    open_training_batches,
    schedule_of,
    updater_arguments,
)
from pipelines.runtime.cli import run_stage
from pipelines.runtime.launch import Place
from pipelines.runtime.loop import stream_seed
from pipelines.runtime.outputs import write_json
from pipelines.runtime.settings import (
    ClassifierTraining,
    ImageFeatures,
    Params,
    StackedFeatures,
    entry,
)
from pipelines.runtime.stage import Training, train_and_export
from pipelines.runtime.task import Task, Validation

ROWS = 500


def main(name: str, params: Params) -> None:
    """Run the stage for one data set."""
    settings = entry(params.features, "features", name)
    if settings.kind == "images":
        _judge_images(name, settings, params)
    elif settings.kind == "stacked-images":
        _judge_stacked(name, settings, params)
    else:
        _judge_points(name)


def _judge_points(name: str) -> None:
    points = read_split(Path("data/shards") / name, "test").x
    log_prob = density(name).log_prob(points)
    figures = {
        "log_likelihood_true": log_prob.mean().item(),
        "log_likelihood_true_std_error": (log_prob.std() / len(log_prob) ** 0.5).item(),
        "count": len(points),
    }
    with whole_folder(Path("models/features") / name) as folder:
        write_json(folder / "truth.json", figures)
    write_json(Path("metrics/features") / f"{name}.json", figures)


def _judge_stacked(name: str, settings: StackedFeatures, params: Params) -> None:
    """Let the classifier of single digits read each channel."""
    shards = Path("data/shards") / name
    manifest = Manifest.load(shards)
    torch.set_num_threads(params.runtime.threads)
    device = torch.device("cuda" if params.runtime.gpu else "cpu")
    single = read_story(Path("models/features") / settings.digits)["model"]
    description = {**single, "kind": "stacked-classifier", "shape": list(manifest.shape)}
    stacked = build_model(description).to(device).eval()
    digits = load_model(Path("models/features") / settings.digits, device)
    cast(StackedClassifier, stacked).single.load_state_dict(digits.state_dict())
    test = read_split(shards, "test")
    with whole_folder(Path("models/features") / name) as folder:
        figures = keep_references(folder, settings, shards, cast(Classifier, stacked), device)
        export_model(folder, description, stacked.state_dict(), {"digits": settings.digits})
    assert test.labels is not None
    # Of as many true images the modes and the divergence: no model can be expected to be nearer.
    floor = stacked_coverage(test.labels, len(manifest.classes))
    figures |= {f"{key}_floor": value for key, value in floor._asdict().items()}
    figures["test_accuracy"] = accuracy(stacked, test, device)
    write_json(Path("metrics/features") / f"{name}.json", figures)


def _judge_images(name: str, settings: ImageFeatures, params: Params) -> None:
    shards, target = Path("data/shards") / name, Path("models/features") / name
    device = torch.device("cuda" if params.runtime.gpu else "cpu")
    torch.set_num_threads(params.runtime.threads)
    if settings.classifier is None:
        with whole_folder(target) as folder:
            figures = keep_references(folder, settings, shards, None, device)
        write_json(Path("metrics/features") / f"{name}.json", figures)
        return
    manifest = Manifest.load(shards)
    if not manifest.classes:
        raise UserError(
            f"{name} has no labels to train a classifier with: set features.{name}.classifier to "
            "null and leave `classifier` out of its extractors"
        )

    def extras(folder: Path, model: nn.Module) -> dict[str, float]:
        classifier = cast(Classifier, model.to(device))
        figures = keep_references(folder, settings, shards, classifier, device)
        return {"test_accuracy": accuracy(model, read_split(shards, "test"), device), **figures}

    training = Training(
        stage="features",
        name=name,
        settings=settings.classifier,
        model={
            "kind": "classifier",
            "shape": list(manifest.shape),
            "classes": len(manifest.classes),
            "width": settings.classifier.width,
        },
        inputs={"shards": shards},
        target=target,
        tags={"dataset": name, "family": "judge", "kind": "classifier"},
        extras=extras,
    )
    train_and_export(training, params)


def keep_references(
    folder: Path,
    settings: ImageFeatures | StackedFeatures,
    shards: Path,
    classifier: Classifier | None,
    device: torch.device,
) -> dict[str, float]:
    """Write the features of train and test images by each extractor; says how many of each."""
    splits = {split: read_split(shards, split).x[: settings.count] for split in ("train", "test")}
    for key, extractor in load_extractors(settings, classifier, device).items():
        for split, images in splits.items():
            write_reference(folder, key, split, extract_features(images, extractor, ROWS))
    return {f"{split}_count": len(images) for split, images in splits.items()}


def build(description: dict[str, Any], place: Place) -> Task:
    """Make a worker's part of the classifier's training (see `pipelines.runtime.launch`)."""
    settings = ClassifierTraining.model_validate(description["settings"])
    shards, plan = Path(description["shards"]), settings.plan
    learner = ClassificationLearner(
        seeded(description["model"], settings.seed),
        schedule_of(settings.optimiser, plan.steps),
        updater_arguments(settings.optimiser),
        stream_seed(settings.seed, place.rank, 0),
        computing_of(plan, place),
    )
    batches = open_training_batches(shards, plan, settings.seed, place)
    held_out = split_validation(read_split(shards, "train"), plan.validation_count)[1]

    def validate(model: nn.Module, step: int) -> Validation:
        right = accuracy(model, held_out, place.device)
        return Validation({"validation_accuracy": right}, score=-right)

    return Task(learner, batches, validate)


@torch.no_grad()
def accuracy(classifier: nn.Module, split: Split, device: torch.device) -> float:
    """Share of the images that are classified rightly."""
    assert split.labels is not None
    parts: list[Tensor] = []
    for images in split.x.split(ROWS):
        parts.append(classifier(as_model_input(images, device)).argmax(dim=1).cpu())
    return (torch.cat(parts) == split.labels).float().mean().item()


if __name__ == "__main__":
    run_stage(__doc__, main)
