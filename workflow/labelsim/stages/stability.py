"""stability: how much the neighbors depend on the choice of images."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from pyarrow import compute

from labelsim.analysis import stability as analysis
from labelsim.storage.parquet import derived_metadata, read_table, write_table
from labelsim.storage.zarr_store import open_store

__all__ = ["stability"]

logger = logging.getLogger(__name__)


def stability(neighbors: Path, stores: Mapping[str, Path], output: Path, by_class: Path) -> None:
    """Write `stability.parquet` and `class_stability.parquet`.

    Parameters
    ----------
    neighbors : Path
        As the stage of this name wrote it.
    stores : mapping of str to Path
        `moments`, as the stage `merge` wrote it, and `conformal` where that is a method of the run.
    output, by_class : Path
        The tables to write, with a row for each neighbor and for each class.
    """
    table = analysis.stability(read_table(neighbors), {name: open_store(path) for name, path in stores.items()})
    classes = analysis.class_stability(table)
    for found, path in ((table, output), (classes, by_class)):
        write_table(found, path, derived_metadata(neighbors))
    if (share := compute.mean(classes["stable"]).as_py()) is not None:
        logger.info("%.0f %% of the neighbors stay neighbors whichever fold of the images is left out", 100 * share)
