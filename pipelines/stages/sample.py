"""Draw samples from a model: sample.NAME of the settings.

Writes draw-I.npy for each draw (uint8 images or float32 points), chain.npy for a composition or a
short-run EBM (what chains looked like on the way), sampling.json (how they were drawn), and
metrics/sample/NAME.json (NFE, seconds).
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from components.errors import DivergedError, UserError
from components.files import whole_folder
from components.images import quantise
from components.models.export import load_model, read_story, weights_digest
from components.models.gradient_flow import GradientFlow
from components.models.latent_model import LatentModel
from components.models.short_run import ShortRunEBM
from components.models.vae import VAE
from components.models.vaebm import VAEBM
from components.samplers.frozen import frozen
from components.samplers.gradient_flow import FlowError, Pushed, push
from components.samplers.langevin import LangevinSettings
from pipelines.runtime.builders import flow_of, langevin_of
from pipelines.runtime.cli import run_stage
from pipelines.runtime.loop import stream_seed
from pipelines.runtime.outputs import write_json
from pipelines.runtime.progress import ProgressDisplay
from pipelines.runtime.projects import LAUNCH
from pipelines.runtime.settings import DenoisingSample, Drawing, FlowSample, Params, entry
from pipelines.sampling.denoising import DENOISING, denoised, evaluations, write_path

CHAINS_SHOWN = 10


def main(name: str, params: Params) -> None:
    """Run the stage for one model."""
    settings = entry(params.sample, "sample", name)
    source = settings.model if isinstance(settings, DenoisingSample) else name
    folder = Path("models") / source
    check_settings(source, folder, params)
    torch.set_num_threads(params.runtime.threads)
    device = torch.device("cuda" if params.runtime.gpu else "cpu")
    model = load_model(folder, device)
    _nest_launch(name, folder, params)
    display = ProgressDisplay(f"sample {name}", "items")
    facts: dict[str, Any] = {}
    with whole_folder(Path("samples") / name) as target:
        acceptance, started = [], time.monotonic()
        for draw in range(settings.draws):
            items, accepted = draw_items(model, settings, draw, device, display)
            np.save(target / f"draw-{draw}.npy", items.numpy())
            acceptance.append(accepted)
        seconds = time.monotonic() - started
        total = settings.draws * settings.count
        facts = {
            "count": settings.count,
            "draws": settings.draws,
            "nfe": network_evaluations(model, settings),
            "seconds_per_1000": round(1000.0 * seconds / total, 4),
        }
        if acceptance[0] is not None:
            facts["acceptance_rate"] = float(np.mean([a for a in acceptance if a is not None]))
        chain_steps = _write_chain(model, settings, target, device)
        told = {**facts, "seed": settings.seed, "chain_steps": chain_steps}
        if isinstance(settings, DenoisingSample):
            told["settings"] = settings.model_dump(mode="json")
        write_json(target / "sampling.json", told)
    display.close()
    write_json(Path("metrics/sample") / f"{name}.json", facts)


def _nest_launch(name: str, folder: Path, params: Params) -> None:
    """This stage logs nothing: MLflow, seconds to import, is needed under `mlflow run` alone."""
    if LAUNCH in os.environ:
        from pipelines.runtime.tracking import WEIGHTS_TAG, Tracker

        tracker = Tracker(params.runtime, Path.cwd())
        tracker.nest_launch(name, {WEIGHTS_TAG: weights_digest(folder)})


def check_settings(name: str, folder: Path, params: Params) -> None:
    """Refuse a model that was trained by other settings than those of params.yaml.

    Raises:
        UserError: the settings differ; names the first that does.
    """
    story = read_story(folder)
    trained = {**params.pretrain, **params.compose}
    if name not in trained:
        return
    now = _flat(trained[name].model_dump(mode="json"))
    then = _flat(story["settings"])
    for key in sorted(now.keys() | then.keys()):
        if now.get(key) != then.get(key):
            raise UserError(
                f"{folder} was exported by other settings: {story['stage']}.{name}.{key} was "
                f"{then.get(key)!r}, is {now.get(key)!r}; run dvc repro {story['stage']}@{name}, "
                f"or keep it: --set {story['stage']}.{name}.{key}={json.dumps(then.get(key))}"
            )


def draw_items(
    model: nn.Module,
    settings: Drawing,
    draw: int,
    device: torch.device,
    display: ProgressDisplay | None = None,
) -> tuple[Tensor, float | None]:
    """One draw, by a random stream of its own.

    Returns:
        Items as stored (uint8 images, float32 points) on the CPU, and the mean acceptance rate of
        Metropolis chains.
    """
    generator = torch.Generator(device).manual_seed(stream_seed(settings.seed, draw, 0))
    parts: list[Tensor] = []
    rates: list[float] = []
    done = draw * settings.count
    for first in range(0, settings.count, settings.batch_size):
        count = min(settings.batch_size, settings.count - first)
        if isinstance(model, VAEBM | ShortRunEBM):
            samples = model.sample(count, generator, chain_of(model, settings))
            parts.append(stored(samples.items))
            if samples.acceptance is not None:
                rates.append(samples.acceptance.mean().item())
        elif isinstance(model, DENOISING):
            parts.append(stored(denoised(model, settings, count, generator).items))
        elif isinstance(model, GradientFlow):
            parts.append(stored(_pushed(model, settings, count, generator).items))
        else:
            parts.append(stored(cast(VAE | LatentModel, model).sample(count, generator)))
        done += count
        if display is not None:
            display.show(done, settings.draws * settings.count)
    return torch.cat(parts), float(np.mean(rates)) if rates else None


def stored(items: Tensor) -> Tensor:
    """Items as they are kept: uint8 images, float32 points, on the CPU.

    Raises:
        DivergedError: some are not finite; as images they would be black and look like a result.
    """
    broken = int((~items.flatten(1).isfinite().all(dim=1)).sum())
    if broken:
        raise DivergedError(
            f"{broken} of {len(items)} samples are not finite: the chain has diverged; try a "
            "smaller step size"
        )
    return (quantise(items) if items.dim() == 4 else items.float()).cpu()


def network_evaluations(model: nn.Module, settings: Drawing) -> int:
    """Network evaluations behind one sample: one pass of a base, the steps of a chain.

    Those of a flow are counted in a batch of noise: its solver takes what the tolerance asks for.
    """
    device = next(model.parameters()).device
    generator = torch.Generator(device).manual_seed(settings.seed)
    count = min(settings.batch_size, settings.count)
    if isinstance(model, GradientFlow):
        return _pushed(model, settings, count, generator).nfe
    if isinstance(model, DENOISING):
        return evaluations(model, settings, count, generator)
    return chain_of(model, settings).steps if isinstance(model, VAEBM | ShortRunEBM) else 1


def _pushed(
    model: GradientFlow, settings: Drawing, count: int, generator: torch.Generator
) -> Pushed:
    if not isinstance(settings, FlowSample):
        raise UserError(
            "a gradient flow is sampled by its ODE: give sample.NAME.flow a value or null (the "
            "model's own), instead of langevin and chain_states"
        )
    try:
        with frozen(model.energy):
            noise = model.noise(count, generator)
            return push(model.energy, noise, flow_of(settings.flow) or model.settings)
    except FlowError as error:
        raise DivergedError(str(error)) from None


def chain_of(model: VAEBM | ShortRunEBM, settings: Drawing) -> LangevinSettings:
    """The steps that draw a sample: those of the settings, or a short-run EBM's own.

    Raises:
        UserError: a composition without settings of its chain.
    """
    own = model.langevin if isinstance(model, ShortRunEBM) else None
    chosen = None if isinstance(settings, FlowSample | DenoisingSample) else settings.langevin
    if chosen is not None:
        return langevin_of(chosen)
    if own is None:
        raise UserError("a composition is sampled by a chain: give sample.NAME.langevin a value")
    return own


def _write_chain(
    model: nn.Module, settings: Drawing, target: Path, device: torch.device
) -> list[int]:
    """Keep what some chains looked like at evenly spaced steps; says which steps."""
    if isinstance(settings, DenoisingSample):
        return write_path(model, settings, target, device)
    if not isinstance(model, VAEBM | ShortRunEBM) or isinstance(settings, FlowSample):
        return []
    if settings.chain_states == 0:
        return []
    chain = chain_of(model, settings)
    steps = np.unique(np.linspace(0, chain.steps, settings.chain_states).round().astype(int))
    generator = torch.Generator(device).manual_seed(stream_seed(settings.seed, settings.draws, 0))
    shape = model.base.shape if isinstance(model, VAEBM) else model.shape
    shown = CHAINS_SHOWN if len(shape) == 3 else 1000
    samples = model.sample(shown, generator, chain, keep=steps.tolist())
    states = torch.stack([stored(items) for items in samples.along])
    np.save(target / "chain.npy", states.numpy())
    return [int(step) for step in steps]


def _flat(settings: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(settings, dict):
        return {prefix.rstrip("."): settings}
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        flat |= _flat(value, f"{prefix}{key}.")
    return flat


if __name__ == "__main__":
    run_stage(__doc__, main)
