"""Judge a model: evaluate.NAME of the settings.

Points: likelihood against the truth, modes, pictures of the densities; of a gradient flow, its
density beside that of its energy. Images: distances of the samples from the test images, detection
of what is not data, or, for a model with a law of its latents, reconstructions and latents. Writes
metrics/evaluate/NAME.json, pictures to plots/evaluate/NAME and the arrays behind them to
judged/NAME; the figures go to the model's row in MLflow too.
"""

from __future__ import annotations

from pathlib import Path

import torch

from components.files import whole_folder
from components.models.export import load_model, weights_digest
from pipelines.comparison.files import read_json
from pipelines.runtime.cli import run_stage
from pipelines.runtime.outputs import write_json
from pipelines.runtime.settings import Params, entry
from pipelines.runtime.tracking import WEIGHTS_TAG, Tracker


def main(name: str, params: Params) -> None:
    """Run the stage for one model."""
    settings = entry(params.evaluate, "evaluate", name)
    torch.set_num_threads(params.runtime.threads)
    device = torch.device("cuda" if params.runtime.gpu else "cpu")
    source = getattr(settings, "model", name)
    samples = Path("samples") / name
    sampling = read_json(samples / "sampling.json", f"sample@{name}")
    model = load_model(Path("models") / source, device)
    plots = Path("plots/evaluate") / name
    # Before the work: a tracking server that is away shall be said at once.
    tracker = Tracker(params.runtime, Path.cwd())
    with whole_folder(plots) as folder, whole_folder(Path("judged") / name) as numbers:
        # Only one of them is needed, and others take seconds to import.
        if settings.kind == "points":
            from pipelines.judging.points import judge_points

            figures = judge_points(model, settings, samples, folder, numbers)
        elif settings.kind == "flow-points":
            from pipelines.judging.flows import judge_flow

            figures = judge_flow(model, settings, samples, folder, numbers)
        elif settings.kind == "latent-images":
            from pipelines.judging.latent import judge_latent

            figures = judge_latent(model, settings, samples, folder, numbers)
        elif settings.kind == "short-run-images":
            from pipelines.judging.short_run import judge_short_run

            figures = judge_short_run(model, settings, samples, folder, numbers)
        elif settings.kind == "denoising-images":
            from pipelines.judging.denoising import judge_denoised_images

            figures = judge_denoised_images(model, settings, samples, folder, numbers)
        elif settings.kind == "denoising-points":
            from pipelines.judging.denoising import judge_denoised_points

            figures = judge_denoised_points(model, settings, samples, folder, numbers)
        else:
            from pipelines.judging.images import judge_images

            features = entry(params.features, "features", settings.data)
            assert features.kind == "images"
            figures = judge_images(model, settings, features, samples, folder, numbers)
    figures["nfe"] = sampling["nfe"]
    unit = "points" if settings.kind.endswith("points") else "images"
    figures[f"seconds_per_1000_{unit}"] = sampling["seconds_per_1000"]
    write_json(Path("metrics/evaluate") / f"{name}.json", figures)
    weights = weights_digest(Path("models") / source)
    row = tracker.row(name, {WEIGHTS_TAG: weights}, {"dvc.stage": f"evaluate@{name}"})
    row.figures({key: value for key, value in figures.items() if isinstance(value, int | float)})
    row.artifacts(plots, "evaluation")
    row.artifacts(samples / "sampling.json", "samples")
    row.end()


if __name__ == "__main__":
    run_stage(__doc__, main)
