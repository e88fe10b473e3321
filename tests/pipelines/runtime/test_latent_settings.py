"""Settings of latent models: parts that do not go together are one line."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from pipelines.runtime.settings import LatentCompose, LatentPretrain
from pipelines.runtime.settings.base import one_line
from tests.pipelines.small_project import small_settings

FLOW = {"kind": "flow", "blocks": 4, "hidden": 64}


def glf() -> dict[str, Any]:
    vae = small_settings()["pretrain"]["vae-digits"]
    return {key: vae[key] for key in ("data", "seed", "latent", "optimiser", "plan")} | {
        "kind": "latent",
        "network": {"kind": "infogan", "width": 64, "hidden": 1024},
        "posterior": {"kind": "point"},
        "prior": FLOW,
        "reconstruction": {"kind": "squared", "weight": 1.0},
        "stop_gradient": True,
        "penalty": {"kind": "none"},
        "prior_optimiser": vae["optimiser"],
        "select": {"kind": "last"},
    }


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"posterior": {"kind": "gaussian"}}, "stop_gradient false, but for a point posterior"),
        ({"prior": {"kind": "normal"}, "stop_gradient": False}, "penalty mmd or gan with a point"),
        ({"penalty": {"kind": "mmd", "weight": 1.0}}, "penalty mmd or gan with a point"),
        ({"prior_optimiser": None}, "prior_optimiser for a flow prior"),
        ({"reconstruction": {"kind": "bernoulli", "weight": "learned"}}, "only the kind `squared`"),
        (
            {"posterior": {"kind": "gaussian"}, "prior": {"kind": "none"}, "stop_gradient": False},
            "prior normal or flow: a posterior with noise needs one",
        ),
        ({"prior": {"kind": "glow"}}, "kind 'glow' is unknown; allowed: 'none', 'normal', 'flow'"),
    ],
)
def test_parts_that_do_not_go_together(changes: dict[str, Any], line: str) -> None:
    LatentPretrain.model_validate(glf())
    content = glf() | changes
    with pytest.raises(ValidationError) as error:
        LatentPretrain.model_validate(content)
    said = one_line(error.value, "params.yaml", content)
    assert line in said and "\n" not in said


def test_a_mixture_has_neither_optimiser_nor_steps() -> None:
    plan = glf()["plan"]
    content = {"kind": "latent-prior", "base": "rae", "data": "digits", "seed": 0}
    content |= {"prior": {"kind": "mixture", "components": 10, "rounds": 100}}
    content |= {"optimiser": None, "plan": plan | {"steps": 1}, "select": {"kind": "last"}}
    LatentCompose.model_validate(content)
    with pytest.raises(ValidationError, match=r"plan\.steps 1 for a mixture"):
        LatentCompose.model_validate(content | {"plan": plan | {"steps": 2}})
    with pytest.raises(ValidationError, match="optimiser null for a mixture"):
        LatentCompose.model_validate(content | {"optimiser": glf()["optimiser"]})
