"""evidence: the channels and layers that make each class and its neighbors alike."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from labelsim.analysis import evidence as analysis
from labelsim.storage.parquet import derived_metadata, read_table, write_table
from labelsim.storage.zarr_store import open_store

__all__ = ["evidence"]

logger = logging.getLogger(__name__)


def evidence(neighbors: Path, stores: Mapping[str, Path], channels: int, output: Path, by_layer: Path) -> None:
    """Write `evidence.parquet` and `evidence_layers.parquet`.

    Parameters
    ----------
    neighbors : Path
        As the stage of this name wrote it.
    stores : mapping of str to Path
        `moments`, as the stage `merge` wrote it, and `welch`, if a method compares its t statistics.
    channels : int
        Number of channels for each neighbor.
    output, by_layer : Path
        The tables to write, with a row for each channel and for each layer of a neighbor.
    """
    datasets = {name: open_store(path) for name, path in stores.items()}
    table, layers = analysis.evidence(read_table(neighbors), datasets, channels)
    for found, path in ((table, output), (layers, by_layer)):
        write_table(found, path, derived_metadata(neighbors), arrow_types=False)
    logger.info("%s contributions of channels, %s of layers", f"{len(table):,}", f"{len(layers):,}")
