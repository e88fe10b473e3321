"""Cut a data set's raw files into webdataset shards: shard.NAME of the settings.

Reads data/catalog.yaml and data/raw/NAME. Writes data/shards/NAME: the shards and a manifest.
"""

from __future__ import annotations

from pathlib import Path

from components.datasets.catalog import ImagesEntry, PointsEntry, find_entry
from components.datasets.formats import item_shape, read_raw
from components.datasets.shards import write_shards
from pipelines.runtime import cli
from pipelines.runtime.settings import Params
from pipelines.runtime.settings.base import entry


def main(name: str, params: Params) -> None:
    """Shard the data set ``name``."""
    settings = entry(params.shard, "shard", name)
    item = find_entry(Path("data/catalog.yaml"), name)
    manifest = write_shards(
        Path("data/shards", name),
        read_raw(item, Path("data/raw", name)),
        name=name,
        kind="points" if isinstance(item, PointsEntry) else "images",
        shape=item_shape(item),
        classes=item.class_names() if isinstance(item, ImagesEntry) else (),
        shard_megabytes=settings.shard_megabytes,
    )
    counts = ", ".join(f"{manifest.count(split):,} {split}" for split in manifest.splits)
    print(f"{name}: {counts}")


if __name__ == "__main__":
    cli.run_stage(__doc__, main)
