"""What a message tells the user to run, spelt as DVC takes it.

Components and stages know what they miss, and at best which stage makes it. The file that the stage
stands in, or which of the stages it is, depends on the workflow that they are part of.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import yaml

from components.errors import UserError
from pipelines.report.workflow import Stage, resolve

MAIN_JOB = Path("dvc.yaml")
_TARGET = re.compile(r"(?P<run>dvc repro (?:--force )?)(?P<kind>\w+)@(?P<key>[\w-]+(?:\.[\w-]+)*)")
_MAKER = re.compile(r"(?P<before>(?P<path>[\w./-]+): run )the stage that makes it")


def placed(message: str, params: Path) -> str:
    """Name the stages that a message tells to run as `dvc repro` finds them.

    ``dvc repro shard@mnist`` gets the file of its stage where that is not the main job's, and *run
    the stage that makes it*, after an output's path, becomes the command.

    Args:
        message: what else it says stays as it is.
        params: the settings that the command was run by. Their workflow is the dvc.yaml beside
            them; stages that are not there are the main job's.

    Returns:
        The message, unchanged where a workflow cannot be read or does not know the stage.
    """
    for workflow in dict.fromkeys([params.with_name(MAIN_JOB.name), MAIN_JOB]):
        stages = _stages(workflow)
        message = _TARGET.sub(_named(workflow, stages), message)
        message = _MAKER.sub(_made(workflow, stages), message)
    return message


def _stages(workflow: Path) -> list[Stage]:
    """A workflow's stages as DVC sees them, which reads the params.yaml beside it.

    None where it cannot be read, as messages are worth reading anyway.
    """
    try:
        content, values = (
            yaml.safe_load(file.read_text(encoding="utf-8"))
            for file in (workflow, workflow.with_name("params.yaml"))
        )
        return resolve(content, values)
    except (OSError, yaml.YAMLError, AttributeError, KeyError, TypeError, UserError):
        return []


def _named(workflow: Path, stages: list[Stage]) -> Callable[[re.Match[str]], str]:
    def replaced(found: re.Match[str]) -> str:
        for stage in stages:
            # stacked_features is of the stage features, in an order of its own.
            alike = stage.kind == found["kind"] or stage.kind.endswith(f"_{found['kind']}")
            if alike and stage.key == found["key"]:
                return found["run"] + _target(workflow, stage)
        return found[0]

    return replaced


def _made(workflow: Path, stages: list[Stage]) -> Callable[[re.Match[str]], str]:
    def replaced(found: re.Match[str]) -> str:
        for stage in stages:
            if found["path"] in stage.outs:
                return f"{found['before']}dvc repro {_target(workflow, stage)}"
        return found[0]

    return replaced


def _target(workflow: Path, stage: Stage) -> str:
    """As seen from the repository's folder, where DVC looks into the main job's file by itself."""
    return stage.name if workflow == MAIN_JOB else f"{workflow}:{stage.name}"
