"""Fetch a data set's raw files: fetch.NAME of the settings.

They come from a folder of yours, or from the first source of data/catalog.yaml that answers. Writes
data/raw/NAME.
"""

from __future__ import annotations

from pathlib import Path

from components.datasets.catalog import find_entry
from components.datasets.sources import fetch
from pipelines.runtime import cli
from pipelines.runtime.settings import Params
from pipelines.runtime.settings.base import entry


def main(name: str, params: Params) -> None:
    """Fetch the data set ``name``."""
    entry(params.fetch, "fetch", name)
    used = fetch(find_entry(Path("data/catalog.yaml"), name), name, Path("data/raw", name))
    print(f"{name}: {used}")


if __name__ == "__main__":
    cli.run_stage(__doc__, main)
