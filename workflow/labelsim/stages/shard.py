"""shard: cut the manifest into shards that are named after what is in them."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pyarrow as pa

from labelsim.dataset.classes import class_names
from labelsim.dataset.shards import cut, shard_name
from labelsim.digests import canonical, digest
from labelsim.documents import write_document
from labelsim.errors import LabelsimError
from labelsim.tables import read_metadata, read_table, write_table

__all__ = ["shard"]

logger = logging.getLogger(__name__)

_LOCATOR = ["sample_id", "path", "offset"]


def shard(manifest: Path, images_per_shard: int, names: str, index: Path, class_ids: Path) -> None:
    """Write a table for every shard that is not there yet, the index of all, and the list of class ids.

    Parameters
    ----------
    manifest : Path
        As `scan` writes it.
    images_per_shard : int
        Aimed at.
    names : str
        The configuration's `dataset.class_names`.
    index : Path
        The JSON file to write: `digest` of the dataset, `classes` (id and name, in the order of the class
        index), `shards` (name, number of images, index of the first and of the last class, in the order of
        the manifest), and `images`. The shards' tables are written beside it.
    class_ids : Path
        The JSON file to write with the ids of the classes alone: an added image leaves it as it is.
    """
    samples = read_table(manifest)
    metadata = read_metadata(samples)
    ids = metadata["classes"]
    shards = cut(samples, images_per_shard)
    new = 0
    for name, start, stop in shards:
        path = index.parent / f"{name}.parquet"
        rows = samples.slice(start, stop - start)
        if not _whole(path, rows):
            write_table(rows, path, {})
            new += 1
    logger.info("%d shards, %d of them new", len(shards), new)
    write_document(class_ids, {"classes": ids})
    labels = class_names(ids, None if names == "auto" else Path(names))
    write_document(
        index,
        {
            # The shards' names are digests of their rows: together they stand for all images.
            "digest": digest(canonical([ids, [name for name, _, _ in shards]])),
            "classes": [{"id": id_, "name": label} for id_, label in zip(ids, labels, strict=True)],
            "shards": [_entry(samples, *shard) for shard in shards],
            "images": len(samples),
        },
    )


def _whole(path: Path, rows: pa.Table) -> bool:
    """Whether a shard's table is there, whole, of the rows that it is named after, and says where they lie now."""
    try:
        found = read_table(path)
    except LabelsimError:
        return False
    return shard_name(found) == path.stem and found.select(_LOCATOR).equals(rows.select(_LOCATOR))


def _entry(samples: pa.Table, name: str, start: int, stop: int) -> dict[str, Any]:
    first, last = (samples["class_index"][row].as_py() for row in (start, stop - 1))
    return {"name": name, "images": stop - start, "first": first, "last": last}
