"""stability: how much the neighbors depend on the choice of images."""

from __future__ import annotations

import logging
from pathlib import Path

from pyarrow import compute

from labelsim.analysis import stability as analysis
from labelsim.storage.parquet import read_table, write_table
from labelsim.storage.zarr_store import open_store

__all__ = ["stability"]

logger = logging.getLogger(__name__)


def stability(neighbors: Path, moments: Path, output: Path, by_class: Path) -> None:
    """Write `stability.parquet` and `class_stability.parquet`.

    Parameters
    ----------
    neighbors, moments : Path
        As the stages `neighbors` and `merge` wrote them.
    output, by_class : Path
        The tables to write, with a row for each neighbor and for each class.
    """
    table = analysis.stability(read_table(neighbors), open_store(moments))
    classes = analysis.class_stability(table)
    write_table(table, output)
    write_table(classes, by_class)
    if (share := compute.mean(classes["stable"]).as_py()) is not None:
        logger.info("%.0f %% of the neighbors stay neighbors whichever fold of the images is left out", 100 * share)
