"""map: where the classes lie in the plane, and the tree of their clustering."""

from __future__ import annotations

from pathlib import Path

from labelsim.analysis.map import map_and_tree
from labelsim.storage.parquet import derived_metadata, read_table, write_table
from labelsim.storage.zarr_store import open_store

__all__ = ["maps"]


def maps(similarity: Path, neighbors: Path, output: Path, tree: Path) -> None:
    """Write `map.parquet` and `tree.parquet`.

    Parameters
    ----------
    similarity, neighbors : Path
        As the stages of these names wrote them.
    output, tree : Path
        The tables to write.
    """
    metadata = derived_metadata(neighbors)
    for table, path in zip(map_and_tree(open_store(similarity), read_table(neighbors)), (output, tree), strict=True):
        write_table(table, path, metadata)
