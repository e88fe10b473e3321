"""What a message tells the user to run, spelt as DVC takes it.

Components and stages know which stage makes what they miss, ``dvc repro shard@mnist``. Which file
that stage stands in depends on the workflow that they are part of.
"""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from components.errors import UserError
from pipelines.report.workflow import entries

_REMEDY = re.compile(r"(dvc repro (?:--force )?)(\w+)@([\w-]+(?:\.[\w-]+)*)")


def with_workflow(message: str, params: Path) -> str:
    """Name the file of each stage that a message tells to run, where it is not the main job's.

    Args:
        message: with remedies such as ``dvc repro shard@mnist``; others stay as they are.
        params: the settings that the command was run by. Its workflow is the dvc.yaml beside it;
            stages that are not there are the main job's.
    """
    workflow = Path(params).with_name("dvc.yaml")
    if workflow == Path("dvc.yaml"):
        return message
    try:
        content, settings = (
            yaml.safe_load(file.read_text(encoding="utf-8")) for file in (workflow, params)
        )
        known = {
            kind: entries(body, settings).keys()
            for kind, body in content["stages"].items()
            if "foreach" in body
        }
    except (OSError, yaml.YAMLError, AttributeError, KeyError, TypeError, UserError):
        # The message is about something else, and is worth reading without the file.
        return message

    def placed(remedy: re.Match[str]) -> str:
        run, stage, key = remedy.groups()
        for kind, keys in known.items():
            # stacked_features is of the stage features, in an order of its own.
            if key in keys and (kind == stage or kind.endswith(f"_{stage}")):
                return f"{run}{workflow}:{kind}@{key}"
        return remedy[0]

    return _REMEDY.sub(placed, message)
