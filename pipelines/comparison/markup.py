"""Templates beside the modules that fill them in."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

HERE = Path(__file__).resolve().parent
"""Holds what pages share: frame.html, which they extend, and parts.html, macros."""


def template(path: Path) -> Template:
    """An HTML template: what goes in is escaped, and a name without a value is an error."""
    environment = Environment(
        loader=FileSystemLoader([path.parent, HERE]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(path.name)
