"""The whole of params.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Discriminator, Field, PrivateAttr, Tag, ValidationError

from components.errors import UserError
from pipelines.runtime.settings.base import Count, Settings, one_line
from pipelines.runtime.settings.composing import VAEBMCompose
from pipelines.runtime.settings.denoising_judging import (
    DenoisingImageEvaluate,
    DenoisingPointEvaluate,
    DenoisingSample,
    Synthesis,
)
from pipelines.runtime.settings.denoising_tables import DenoisingTable, TradeOff
from pipelines.runtime.settings.diffusion import (
    DDPMPretrain,
    DenoisingGANPretrain,
    GANPretrain,
)
from pipelines.runtime.settings.gradient_flow import (
    FlowEvaluate,
    FlowPretrain,
    FlowSample,
    FlowTable,
)
from pipelines.runtime.settings.judging import (
    Average,
    Comparison,
    Features,
    ImageEvaluate,
    LatentEvaluate,
    PointEvaluate,
    Report,
    Sample,
    Table,
)
from pipelines.runtime.settings.latent import LatentCompose, LatentPretrain
from pipelines.runtime.settings.paths import replaced
from pipelines.runtime.settings.short_run import ShortRunEvaluate, ShortRunPretrain
from pipelines.runtime.settings.sweeping import Sweep
from pipelines.runtime.settings.training import Runtime, VAEPretrain

Pretrain = Annotated[
    VAEPretrain
    | LatentPretrain
    | ShortRunPretrain
    | FlowPretrain
    | DenoisingGANPretrain
    | DDPMPretrain
    | GANPretrain,
    Field(discriminator="kind"),
]
Compose = Annotated[VAEBMCompose | LatentCompose, Field(discriminator="kind")]


Evaluate = Annotated[
    PointEvaluate
    | ImageEvaluate
    | LatentEvaluate
    | ShortRunEvaluate
    | FlowEvaluate
    | DenoisingImageEvaluate
    | DenoisingPointEvaluate,
    Field(discriminator="kind"),
]


def _sampler(value: Any) -> str:
    """Tells settings of samples apart, which have no `kind`."""
    told: dict[str, tuple[str, type[Settings]]] = {
        "flow": ("by a flow", FlowSample),
        "sampler": ("by denoising", DenoisingSample),
    }
    for key, (tag, kind) in told.items():
        if key in value if isinstance(value, Mapping) else isinstance(value, kind):
            return tag
    return "by a model"


Drawing = Annotated[
    Annotated[FlowSample, Tag("by a flow")]
    | Annotated[DenoisingSample, Tag("by denoising")]
    | Annotated[Sample, Tag("by a model")],
    Discriminator(_sampler),
]


class Fetch(Settings):
    """A data set to get; what and from where stands in data/catalog.yaml."""


class Shard(Settings):
    """How a data set is cut into shards."""

    shard_megabytes: Count


class Params(Settings):
    """All settings. Sections are the stages' names, entries are data sets and models."""

    runtime: Runtime
    fetch: dict[str, Fetch] = Field(default_factory=dict)
    shard: dict[str, Shard] = Field(default_factory=dict)
    features: dict[str, Features] = Field(default_factory=dict)
    pretrain: dict[str, Pretrain] = Field(default_factory=dict)
    compose: dict[str, Compose] = Field(default_factory=dict)
    sample: dict[str, Drawing] = Field(default_factory=dict)
    evaluate: dict[str, Evaluate] = Field(default_factory=dict)
    synthesise: dict[str, Synthesis] = Field(default_factory=dict)
    average: dict[str, Average] = Field(default_factory=dict)
    tabulate: dict[str, Table] = Field(default_factory=dict)
    tabulate_flows: dict[str, FlowTable] = Field(default_factory=dict)
    tabulate_denoising: dict[str, DenoisingTable] = Field(default_factory=dict)
    trade_off: dict[str, TradeOff] = Field(default_factory=dict)
    compare: dict[str, Comparison] = Field(default_factory=dict)
    report: dict[str, Report] = Field(default_factory=dict)
    sweeps: dict[str, Sweep] = Field(default_factory=dict)

    _source: Path = PrivateAttr(default=Path("params.yaml"))

    @property
    def source(self) -> Path:
        """The file that they were read from."""
        return self._source


def load_params(path: Path, changes: Mapping[str, Any] | None = None) -> Params:
    """Read and check a settings file.

    Args:
        path: YAML file.
        changes: values instead of the file's, by their paths (see `paths.replaced`).

    Raises:
        UserError: no such file, no YAML, an unknown key, a wrong type or range.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"no settings file {path}: run from the repository's folder or give --params"
        ) from None
    except OSError as error:
        raise UserError(f"cannot read settings file {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    if changes and isinstance(content, Mapping):
        content = replaced(content, changes)
    try:
        params = Params.model_validate(content)
    except ValidationError as error:
        raise UserError(one_line(error, path.name, content)) from None
    params._source = path
    return params
