"""Settings named by their path in params.yaml: ``compose.vaebm-toy.optimiser.learning_rate``."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from components.errors import UserError

Content = dict[str, Any]


def value_at(content: Mapping[str, Any], path: str) -> Any:
    """Look a setting up.

    Args:
        content: the settings as plain values.
        path: keys joined by dots.

    Raises:
        UserError: there is no such setting; names the nearest key.

    >>> value_at({"sample": {"toy": {"count": 3}}}, "sample.toy.count")
    3
    """
    here: Any = content
    for key in path.split("."):
        if not isinstance(here, Mapping) or key not in here:
            known = list(here) if isinstance(here, Mapping) else []
            close = difflib.get_close_matches(key, known, n=1)
            hint = f"; did you mean `{close[0]}`?" if close else ""
            raise UserError(f"the settings have no {path}: `{key}` is not there{hint}")
        here = here[key]
    return here


def replaced(content: Mapping[str, Any], values: Mapping[str, Any]) -> Content:
    """A copy of the settings with other values.

    Only what the paths lead through is copied: sections that share an anchor in the YAML file are
    one object, and a value for one of them is not meant for the others.

    Args:
        content: the settings as plain values.
        values: new values by path; each path must be there.

    Raises:
        UserError: there is no such setting.

    >>> replaced({"sample": {"toy": {"count": 3}}}, {"sample.toy.count": 4})
    {'sample': {'toy': {'count': 4}}}
    """
    changed: Content = dict(content)
    for path, value in values.items():
        value_at(changed, path)
        *sections, last = path.split(".")
        here = changed
        for key in sections:
            here[key] = dict(here[key])
            here = here[key]
        here[last] = value
    return changed


def assigned(assignments: Iterable[str]) -> Content:
    """Read ``PATH=VALUE`` as the command line gives them.

    Args:
        assignments: each a path, ``=`` and a value in YAML. One without a value leaves the setting
            as it is in the file, so that tools can hand on parameters that nobody gave.

    Returns:
        Values by path, in the order given; of two for the same path the later.

    Raises:
        UserError: no ``=``, or a value that is not YAML.

    >>> assigned(["a.b.steps=20", "a.b.hidden=[8, 8]", "a.b.seed=", "a.c=null"])
    {'a.b.steps': 20, 'a.b.hidden': [8, 8], 'a.c': None}
    """
    values: Content = {}
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        if not equals or not path:
            raise UserError(f"--set needs PATH=VALUE, as in compose.NAME.seed=1, not {assignment}")
        if not text.strip():
            continue
        try:
            values[path] = yaml.safe_load(text)
        except yaml.YAMLError:
            raise UserError(f"--set {assignment}: the value is not YAML") from None
    return values
