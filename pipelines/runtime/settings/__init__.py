"""The schema of params.yaml, the only place where a default lives.

Each key of the file is checked before anything is computed; a wrong key, type or range is one line
that names the path, the value and what is allowed.
"""

from pipelines.runtime.settings.base import Settings, entry
from pipelines.runtime.settings.composing import Langevin, VAEBMCompose
from pipelines.runtime.settings.gradient_flow import (
    EnergyObjective,
    EqualSteps,
    FlowEvaluate,
    FlowODE,
    FlowPretrain,
    FlowSample,
    FlowTable,
    LikelihoodSelect,
)
from pipelines.runtime.settings.judging import (
    ChainDiagnosis,
    Claim,
    ClassifierTraining,
    Comparison,
    Curve,
    DistributionRecall,
    Features,
    ImageEvaluate,
    ImageFeatures,
    Interpolation,
    LatentEvaluate,
    Neighbourhood,
    PointEvaluate,
    PointFeatures,
    Report,
    Sample,
    Table,
    TableRow,
)
from pipelines.runtime.settings.latent import (
    GANPenalty,
    LatentCompose,
    LatentPretrain,
    MixturePrior,
    PerceptualReconstruction,
)
from pipelines.runtime.settings.root import (
    Compose,
    Drawing,
    Evaluate,
    Params,
    Pretrain,
    load_params,
)
from pipelines.runtime.settings.selecting import (
    EnergyDistanceSelect,
    FrechetSelect,
    LastSelect,
    Select,
)
from pipelines.runtime.settings.short_run import (
    Reconstruction,
    ShortRunEvaluate,
    ShortRunPretrain,
)
from pipelines.runtime.settings.sweeping import (
    ASHAScheduler,
    ChoiceSpace,
    Search,
    Space,
    Sweep,
)
from pipelines.runtime.settings.training import (
    HalvingDecay,
    Optimiser,
    Plan,
    Runtime,
    VAEPretrain,
)

__all__ = [
    "ASHAScheduler",
    "ChainDiagnosis",
    "ChoiceSpace",
    "Claim",
    "ClassifierTraining",
    "Comparison",
    "Compose",
    "Curve",
    "DistributionRecall",
    "Drawing",
    "EnergyDistanceSelect",
    "EnergyObjective",
    "EqualSteps",
    "Evaluate",
    "Features",
    "FlowEvaluate",
    "FlowODE",
    "FlowPretrain",
    "FlowSample",
    "FlowTable",
    "FrechetSelect",
    "GANPenalty",
    "HalvingDecay",
    "ImageEvaluate",
    "ImageFeatures",
    "Interpolation",
    "Langevin",
    "LastSelect",
    "LatentCompose",
    "LatentEvaluate",
    "LatentPretrain",
    "LikelihoodSelect",
    "MixturePrior",
    "Neighbourhood",
    "Optimiser",
    "Params",
    "PerceptualReconstruction",
    "Plan",
    "PointEvaluate",
    "PointFeatures",
    "Pretrain",
    "Reconstruction",
    "Report",
    "Runtime",
    "Sample",
    "Search",
    "Select",
    "Settings",
    "ShortRunEvaluate",
    "ShortRunPretrain",
    "Space",
    "Sweep",
    "Table",
    "TableRow",
    "VAEBMCompose",
    "VAEPretrain",
    "entry",
    "load_params",
]
