"""scan: list the images of the dataset into the manifest."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import compute

from labelsim.dataset.formats.base import Listing, Source, digest
from labelsim.dataset.sampling import choose
from labelsim.dataset.sources import format_of, open_source
from labelsim.errors import LabelsimError
from labelsim.storage.parquet import write_table

__all__ = ["listed", "scan"]

logger = logging.getLogger(__name__)


def scan(dataset: Mapping[str, Any], manifest: Path, threads: int = 1) -> None:
    """Write one row an image: `sample_id`, `class_index`, `class_id`, locator columns, `bytes`.

    Parameters
    ----------
    dataset : mapping
        The configuration's section `dataset`.
    manifest : Path
        The Parquet table to write. Its metadata are the section's `source`, `labels` and `columns`, the format, the
        classes (including those without images), the ignored files, and the listing's notes.
    threads : int
        Images to read at a time for `content_digest`.

    Raises
    ------
    LabelsimError
        If there are no images, or the source cannot be read.
    """
    source, format, listing = listed(dataset)
    samples = listing.samples
    if dataset["content_digest"]:
        digests = pa.array(_digests(source, samples, threads), pa.large_string())
        samples = samples.append_column("content", digests)
    logger.info(
        "%s images of %s classes, %.1f MB",
        f"{len(samples):,}",
        f"{len(listing.classes):,}",
        compute.sum(samples["bytes"]).as_py() / 1e6,
    )
    for kind, number in listing.skipped.items():
        logger.info("Ignored %s %s", f"{number:,}", kind)
    for kind, number in listing.notes.items():
        logger.info("%s %s", f"{number:,}", kind)
    where = {key: dataset[key] for key in ("source", "labels", "columns")}
    metadata = {
        **where,
        "format": format,
        "classes": listing.classes,
        "skipped": listing.skipped,
        "notes": listing.notes,
    }
    write_table(samples, manifest, metadata)


def listed(dataset: Mapping[str, Any]) -> tuple[Source, str, Listing]:
    """List the images of the dataset, at most `images_per_class` of each class; nothing is written.

    Parameters
    ----------
    dataset : mapping
        The configuration's section `dataset`.

    Returns
    -------
    source : Source
        What reads the images.
    format : str
        Format of the dataset, detected if it is `auto`.
    listing : Listing
        The classes and the images.

    Raises
    ------
    LabelsimError
        If there are no images, or the source cannot be read.
    """
    format = format_of(dataset["source"], dataset["format"], dataset["labels"])
    source = open_source(dataset["source"], format, dataset["labels"], dataset["columns"])
    logger.info("Listing the images of %s (%s)", dataset["source"], format)
    listing = source.list()
    if not len(listing.samples):
        raise LabelsimError(f"dataset.source: there are no images in {dataset['source']}")
    if dataset["images_per_class"] is not None:
        listing = listing._replace(samples=choose(listing.samples, dataset["images_per_class"]))
    return source, format, listing


def _digests(source: Source, samples: pa.Table, threads: int) -> Iterator[str]:
    # several threads would decode the same group of rows
    with ThreadPoolExecutor(1 if source.reads_in_groups else max(1, threads)) as pool:
        for batch in samples.to_batches(max_chunksize=4096):
            yield from pool.map(lambda row: _digest(source, row), batch.to_pylist())


def _digest(source: Source, row: Mapping[str, Any]) -> str:
    try:
        return digest(source.read(row))
    except OSError as error:
        # The extraction will reject the image; once it can be read, its shard changes.
        return f"cannot be read: {error.strerror}"
