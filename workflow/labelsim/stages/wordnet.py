"""wordnet: what WordNet calls the classes, and what each class and its neighbors have in common."""

from __future__ import annotations

import logging
from pathlib import Path

from pyarrow import compute

from labelsim.analysis.wordnet import tables
from labelsim.storage.parquet import derived_metadata, read_table, write_table

__all__ = ["wordnet"]

logger = logging.getLogger(__name__)


def wordnet(classes: Path, neighbors: Path, output: Path, pairs: Path) -> None:
    """Write `wordnet.parquet` and `wordnet_pairs.parquet`.

    Parameters
    ----------
    classes, neighbors : Path
        As the stage `neighbors` wrote them.
    output, pairs : Path
        The tables to write, of classes and of pairs; without rows if no class id is a wnid.
    """
    of_run = read_table(classes)
    table, of_pairs = tables.wordnet(of_run, read_table(neighbors))
    for found, path in ((table, output), (of_pairs, pairs)):
        write_table(found, path, derived_metadata(neighbors))
    if not len(table):
        logger.info("The tables of WordNet are empty: no class id is a wnid, such as n01440764")
        return
    logger.info(
        "WordNet 3.0 knows %s of %s classes, in %d branches; neighbors: %s pairs",
        *(f"{len(found):,}" for found in (table, of_run)),
        len(compute.unique(table["branch"])),
        f"{len(of_pairs):,}",
    )
