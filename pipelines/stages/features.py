"""Make what the judges of a data set need: features.DATA of the settings.

Images: trains the data set's own classifier and keeps the features of train and test images under
each extractor. Points: keeps the true density's log-likelihood of the test points.
Writes models/features/DATA and metrics/features/DATA.json.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from components.datasets.loading import open_batches, split_validation
from components.datasets.shards import Manifest, Split, read_split
from components.datasets.toy import density
from components.files import whole_folder
from components.learners.classification import ClassificationLearner
from components.learners.learner import as_model_input
from components.metrics.extractors import Classifier, extract_features
from components.models.build import seeded
from pipelines.judging.references import load_extractors, write_reference
from pipelines.runtime.builders import schedule_of, updater_arguments
from pipelines.runtime.cli import run_stage
from pipelines.runtime.launch import Place
from pipelines.runtime.loop import Task, Validation, stream_seed
from pipelines.runtime.outputs import write_json
from pipelines.runtime.settings import ImageFeatures, Params, entry
from pipelines.runtime.stage import Training, train_and_export

ROWS = 500


def main(name: str, params: Params) -> None:
    """Run the stage for one data set."""
    settings = entry(params.features, "features", name)
    if settings.kind == "images":
        _judge_images(name, settings, params)
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


def _judge_images(name: str, settings: ImageFeatures, params: Params) -> None:
    shards = Path("data/shards") / name
    manifest = Manifest.load(shards)
    device = torch.device("cuda" if params.runtime.gpu else "cpu")
    torch.set_num_threads(params.runtime.threads)

    def keep_references(folder: Path, classifier: nn.Module) -> dict[str, float]:
        classifier = classifier.to(device)
        test = read_split(shards, "test")
        splits = {"train": read_split(shards, "train").x, "test": test.x}
        for key, extractor in load_extractors(
            settings, cast(Classifier, classifier), device
        ).items():
            for split, images in splits.items():
                features = extract_features(images[: settings.count], extractor, ROWS)
                write_reference(folder, key, split, features)
        return {"test_accuracy": accuracy(classifier, test, device)}

    training = Training(
        stage="features",
        name=name,
        settings=settings,
        plan=settings.plan,
        seed=settings.seed,
        model={
            "kind": "classifier",
            "shape": list(manifest.shape),
            "classes": len(manifest.classes),
            "width": settings.width,
        },
        inputs={"shards": shards},
        target=Path("models/features") / name,
        tags={"dataset": name, "family": "judge", "kind": "classifier"},
        extras=keep_references,
    )
    train_and_export(training, params)


def build(description: dict[str, Any], place: Place) -> Task:
    """Make a worker's part of the classifier's training (see `pipelines.runtime.launch`)."""
    settings = ImageFeatures.model_validate(description["settings"])
    shards, plan = Path(description["shards"]), settings.plan
    learner = ClassificationLearner(
        seeded(description["model"], settings.seed),
        schedule_of(settings.optimiser, plan.steps),
        updater_arguments(settings.optimiser),
        stream_seed(settings.seed, place.rank, 0),
        place.device,
        plan.precision == "bfloat16",
    )
    batches = open_batches(
        shards,
        "train",
        plan.batch_size,
        settings.seed,
        place.rank,
        place.world_size,
        place.memory_limit_mb * 1_000_000,
        exclude_last=plan.validation_count,
    )
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
