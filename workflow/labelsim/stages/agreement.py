"""agreement: how far the methods and a reference agree with each other."""

from __future__ import annotations

from pathlib import Path

from pyarrow import compute

from labelsim.analysis import agreement as analysis
from labelsim.analysis.reference import reference
from labelsim.storage.parquet import derived_metadata, read_table, write_table
from labelsim.storage.zarr_store import load, open_store

__all__ = ["agreement"]


def agreement(similarity: Path, neighbors: Path, file: str | None, output: Path) -> None:
    """Write `agreement.parquet`.

    Parameters
    ----------
    similarity, neighbors : Path
        As the stages of these names wrote them.
    file : str or None
        The configuration's `analysis.reference.file`.
    output : Path
        The table to write.
    """
    nearest, matrices = read_table(neighbors), open_store(similarity)
    measures = reference(load(matrices, "class_id").tolist(), None if file is None else Path(file))
    table = analysis.agreement(matrices, measures, compute.max(nearest["rank"]).as_py() or 1)
    write_table(table, output, {**derived_metadata(neighbors), "reference": file or "WordNet 3.0"})
