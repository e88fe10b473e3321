"""What all settings share: no unknown keys, no change after reading, errors in one line."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from components.errors import UserError
from pipelines.runtime.secrets import masked

Entry = TypeVar("Entry")
_ABSENT = object()
Count = Annotated[int, Field(ge=1)]
"""A number of things, at least one."""
Amount = Annotated[int, Field(ge=0)]
"""A number of things, possibly none."""
Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
"""A probability or a fraction."""


class Settings(BaseModel):
    """A section of params.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def entry(section: Mapping[str, Entry], stage: str, name: str) -> Entry:
    """Look an entry up in a stage's section.

    Raises:
        UserError: there is no such entry; names those that there are.
    """
    if name not in section:
        known = ", ".join(section) or "none"
        raise UserError(f"no entry {stage}.{name} in the settings; there are: {known}")
    return section[name]


def one_line(error: ValidationError, source: str, content: Any) -> str:
    """Put pydantic's first complaint into one line for the user.

    Args:
        error: what pydantic raised.
        source: the file's name.
        content: what was validated, as plain Python values.
    """
    complaints = error.errors(include_url=False)
    # A mistyped key is also a missing one; the line should name what the user wrote.
    first = min(complaints, key=lambda complaint: complaint["type"] != "extra_forbidden")
    path = _path_in_file(first["loc"], content)
    rest = f" (and {len(complaints) - 1} more)" if len(complaints) > 1 else ""
    return f"{source}: {path}: {_complaint(first)}{rest}"


def _path_in_file(location: tuple[int | str, ...], content: Any) -> str:
    """Drop from pydantic's location what is not a key of the file (tags of unions)."""
    keys: list[str] = []
    here = content
    for position, part in enumerate(location):
        last = position == len(location) - 1
        found = _children(here).get(part, _ABSENT)
        if found is not _ABSENT:
            keys.append(str(part))
            here = found
        elif last and isinstance(here, Mapping):
            keys.append(str(part))
    return ".".join(keys) or "the whole file"


def _children(value: Any) -> Mapping[int | str, Any]:
    if isinstance(value, list):
        return dict(enumerate(value))
    return value if isinstance(value, Mapping) else {}


def _complaint(error: ErrorDetails) -> str:
    value, context = error["input"], error.get("ctx", {})
    match error["type"]:
        case "extra_forbidden":
            return f"unknown setting{_suggestion(str(error['loc'][-1]))}"
        case "missing":
            return "missing: give it a value"
        case "union_tag_invalid":
            return f"kind {context['tag']!r} is unknown; allowed: {context['expected_tags']}"
        case "union_tag_not_found":
            return "needs a key `kind`"
    allowed = error["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
    if isinstance(value, Mapping | list | Settings):
        return f"these settings do not go together or have the wrong form; it should be {allowed}"
    return f"{masked(repr(value))} is not allowed; it should be {allowed}"


def _suggestion(key: str) -> str:
    known: set[str] = set()
    pending = [Settings]
    while pending:
        schema = pending.pop()
        known.update(schema.model_fields)
        pending.extend(schema.__subclasses__())
    close = difflib.get_close_matches(key, known, n=1)
    return f"; did you mean `{close[0]}`?" if close else "; remove it"
