"""judgement: how similar the nearest classes of each method are by a reference."""

from __future__ import annotations

import logging
from pathlib import Path

import pyarrow as pa
from pyarrow import compute

from labelsim.analysis import judgement as analysis
from labelsim.analysis.reference import reference
from labelsim.storage.parquet import derived_metadata, read_table, write_table
from labelsim.storage.zarr_store import load, open_store

__all__ = ["judgement"]

logger = logging.getLogger(__name__)


def judgement(similarity: Path, neighbors: Path, file: str | None, output: Path) -> None:
    """Write `judgement.parquet`.

    Parameters
    ----------
    similarity, neighbors : Path
        As the stages of these names wrote them.
    file : str or None
        The configuration's `analysis.reference.file`.
    output : Path
        The table to write; without rows if the reference knows no two of the classes.
    """
    nearest, matrices = read_table(neighbors), open_store(similarity)
    measures = reference(load(matrices, "class_id").tolist(), None if file is None else Path(file))
    table = analysis.judgement(matrices, measures, compute.max(nearest["rank"]).as_py() or 1)
    write_table(table, output, {**derived_metadata(neighbors), "reference": file or "WordNet 3.0"})
    _log(table, file)


def _log(table: pa.Table, file: str | None) -> None:
    if not len(table):
        logger.info("No judgement: give a reference that knows the classes (analysis.reference.file)")
        return
    if file is None:
        logger.info("WordNet knows kinds, not shapes or scenes: read the following with that in mind")
    known = compute.and_(compute.equal(table["group"], "all"), table["mean"].is_valid())
    for row in table.filter(known).to_pylist():
        logger.info(
            "%s of the %d nearest by %s: %.3f (random classes %.3f, best %.3f)",
            *(row[name] for name in ("measure", "k", "method", "mean", "random", "best")),
        )
