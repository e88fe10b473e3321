"""Short names of settings paths, for tables and pictures."""

from __future__ import annotations


def short_names(paths: list[str]) -> dict[str, str]:
    """The last keys of paths, as many as tell them apart.

    >>> short_names(["a.chain.steps", "a.plan.steps", "a.chain.step_size"])
    {'a.chain.steps': 'chain.steps', 'a.plan.steps': 'plan.steps', 'a.chain.step_size': 'step_size'}
    """
    names: dict[str, str] = {}
    for path in paths:
        keys = path.split(".")
        for length in range(1, len(keys) + 1):
            tail = ".".join(keys[-length:])
            if sum(f".{other}".endswith(f".{tail}") for other in paths) == 1:
                break
        names[path] = tail
    return names


def shown(value: object) -> str:
    """A setting's value for the reader.

    >>> shown(0.123456), shown(20), shown(None)
    ('0.1235', '20', 'null')
    """
    if value is None:
        return "null"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
