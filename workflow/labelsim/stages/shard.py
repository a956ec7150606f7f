"""shard: cut the manifest into shards that are named after their rows."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Literal

import pyarrow as pa

from labelsim.dataset.classes import class_names, write_classes
from labelsim.dataset.shards import automatic_aim, cut, shard_name
from labelsim.errors import LabelsimError
from labelsim.storage.digests import canonical, digest
from labelsim.storage.json_files import write_document
from labelsim.storage.parquet import read_metadata, read_table, write_table

__all__ = ["shard"]

logger = logging.getLogger(__name__)

_LOCATOR = ["sample_id", "path", "offset"]


def shard(
    manifest: Path,
    images_per_shard: int | Literal["auto"],
    names: str,
    index: Path,
) -> None:
    """Write a table for every new shard, the classes in their order, and the index of all shards.

    Parameters
    ----------
    manifest : Path
        As `scan` writes it.
    images_per_shard : int or "auto"
        Target size of a shard; `auto` is the size from `automatic_aim`.
    names : str
        The configuration's `dataset.class_names`.
    index : Path
        The JSON file to write: `digest` of the dataset, number of `images` and of `classes`, digest of their `names`,
        and `shards` (name and number of images, in the order of the manifest). The shards' tables, `classes.json` and
        `class_ids.json` are written to its folder (see `labelsim.dataset.classes`).

    Raises
    ------
    LabelsimError
        If the table of names cannot be used.
    """
    samples = read_table(manifest)
    metadata = read_metadata(samples)
    ids = metadata["classes"]
    labels = class_names(ids, None if names == "auto" else Path(names))
    aim = automatic_aim(len(samples)) if images_per_shard == "auto" else images_per_shard
    shards = cut(samples, aim)
    new = 0
    for name, start, stop in shards:
        path = index.parent / f"{name}.parquet"
        rows = samples.slice(start, stop - start)
        if not _whole(path, rows, metadata["format"]):
            write_table(rows, path, {"format": metadata["format"]})
            new += 1
    logger.info("Shards: %d, %d of them new; target size %s images", len(shards), new, f"{aim:,}")
    write_classes(index.parent, ids, labels)
    write_document(
        index,
        {
            # The shards' names are digests of their rows, so together they represent all images.
            "digest": digest(canonical([ids, [name for name, _, _ in shards]])),
            "names": digest(canonical(labels)),
            "classes": len(ids),
            "images": len(samples),
            "shards": [{"name": name, "images": stop - start} for name, start, stop in shards],
        },
    )


def _whole(path: Path, rows: pa.Table, format: str) -> bool:
    """Whether a shard's table exists, is intact, and has the rows with their current location."""
    try:
        found = read_table(path)
    except LabelsimError:
        return False
    return (
        shard_name(found) == path.stem
        and found.select(_LOCATOR).equals(rows.select(_LOCATOR))
        and read_metadata(found).get("format") == format
    )
