"""examples: the most typical images of each class, and those that activate its channels most."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from pyarrow.compute import field

from labelsim.analysis.examples import evidence_images, typical_images
from labelsim.storage.parquet import derived_metadata, read_table, write_table
from labelsim.storage.zarr_store import open_store

__all__ = ["examples"]

logger = logging.getLogger(__name__)


def examples(
    features: Sequence[Path],
    moments: Path,
    neighbors: Path,
    evidence: Path | None,
    settings: Mapping[str, int],
    output: Path,
    by_channel: Path,
) -> None:
    """Write `examples.parquet` and `evidence_images.parquet`.

    Parameters
    ----------
    features : sequence of Path
        The shards' stores, as `extract` wrote them, in the order of the manifest.
    moments, neighbors, evidence : Path
        As the stages of these names (`merge` for the moments) wrote them. Without evidence, `evidence_images.parquet`
        has no rows.
    settings : mapping
        The configuration's `analysis.examples`.
    output, by_channel : Path
        The tables to write, with a row for each image of a class, and of a channel of a class.
    """
    shards, means = [open_store(path) for path in features], open_store(moments)
    channels = [] if evidence is None else [read_table(evidence, filters=field("group") == "all")]
    table = typical_images(shards, means, settings["images"])
    images = evidence_images(shards, means, channels, settings["images_per_channel"])
    for found, path in ((table, output), (images, by_channel)):
        write_table(found, path, derived_metadata(neighbors))
    logger.info("%s typical images of classes, %s of channels of classes", f"{len(table):,}", f"{len(images):,}")
