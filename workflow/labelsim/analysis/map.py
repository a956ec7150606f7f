"""Maps and trees: where the classes lie in the plane by each method, and how they are clustered."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import compute

from labelsim.analysis.stored import Matrix, stored
from labelsim.methods import METHODS
from labelsim.statistics.clustering import MAX_CLUSTERED, average_linkage, distances, leaves
from labelsim.statistics.embedding import align, embed, evenly_spaced, fit_square
from labelsim.storage.zarr_store import blocks, load

if TYPE_CHECKING:
    import xarray

__all__ = ["MAX_LANDMARKS", "map_and_tree"]

logger = logging.getLogger(__name__)

MAX_LANDMARKS = 2000  # classes placed by multidimensional scaling; its time grows at least with their square
_ROWS = 1024  # of a matrix at a time

_MAP = {
    "method": pa.string(),
    "class_index": pa.int32(),
    **dict.fromkeys(("class_id", "class_name"), pa.string()),
    **dict.fromkeys(("x", "y"), pa.float64()),
    "position": pa.int32(),
}
_TREE = {
    "method": pa.string(),
    **dict.fromkeys(("step", "left", "right"), pa.int32()),
    "height": pa.float64(),
    "size": pa.int32(),
}


def map_and_tree(similarity: xarray.Dataset, neighbors: pa.Table) -> tuple[pa.Table, pa.Table]:
    """Place the classes in the plane and cluster them, by each method.

    Parameters
    ----------
    similarity : xarray.Dataset
        A run's similarity matrices; those of the group `all` are used.
    neighbors : pyarrow.Table
        Its table of neighbors: the classes in it are those with similarities.

    Returns
    -------
    pyarrow.Table
        The map, one row a method and class with similarities: `x` and `y`, from 0 to 1, aligned with the map of the
        first method; `position`, the place of the class in the order of the clustering, from 0, or null with more
        than `labelsim.statistics.clustering.MAX_CLUSTERED` classes.
    pyarrow.Table
        The tree, one row a method and merge: `step`, from 0; `left` and `right`, each a class index, or C + step of an
        earlier merge, with C the number of classes of the run; `height`, their distance; `size`, the number of classes
        merged. No rows with more than `MAX_CLUSTERED` classes.
    """
    ids, names = (load(similarity, name) for name in ("class_id", "class_name"))
    classes = len(ids)
    clustered = classes <= MAX_CLUSTERED
    if not clustered:
        logger.info(
            "No tree: %s classes are too many to cluster; the limit is %s", f"{classes:,}", f"{MAX_CLUSTERED:,}"
        )
    reference = np.full((classes, 2), np.nan)
    maps, trees = [], []
    for matrix in stored(similarity):
        if matrix.group != "all" or not len(kept := _kept(neighbors, matrix.method)):
            continue
        largest = METHODS[matrix.method].largest
        landmarks = evenly_spaced(len(kept), MAX_LANDMARKS)
        columns = kept if clustered else kept[landmarks]
        values = _rows(matrix, classes, kept, columns)
        points = embed(values[:, landmarks] if clustered else values, landmarks, largest)
        points = fit_square(align(points, reference[kept]))
        if np.isnan(reference).all():
            reference[kept] = points
        position = pa.nulls(len(kept), pa.int32())
        if clustered:
            tree = average_linkage(distances(values, largest))
            position = np.argsort(leaves(tree))
            trees.append(_table(_TREE, matrix.method, *_merges(tree, kept, classes)))
        maps.append(_table(_MAP, matrix.method, kept, ids[kept], names[kept], *points.T, position))
        logger.info("Map of %s: %s classes", matrix.method, f"{len(kept):,}")
    return _joined(_MAP, maps), _joined(_TREE, trees)


def _kept(neighbors: pa.Table, method: str) -> NDArray[np.int64]:
    chosen = compute.and_(compute.equal(neighbors["method"], method), compute.equal(neighbors["group"], "all"))
    return np.unique(neighbors["class_index"].filter(chosen).to_numpy()).astype(np.int64)


def _rows(matrix: Matrix, classes: int, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.float32]:
    """Some rows and columns of a matrix."""
    result = np.empty((len(rows), len(columns)), dtype=np.float32)
    for block in blocks(classes, _ROWS):
        some = slice(*np.searchsorted(rows, (block.start, block.stop)))
        result[some] = matrix.rows(block)[np.ix_(rows[some] - block.start, columns)]
    return result


def _merges(tree: NDArray[np.float64], kept: NDArray[np.int64], classes: int) -> list[NDArray[Any]]:
    """Columns of the table of a tree, its clusters numbered by class index instead of by place in `kept`."""
    number = np.concatenate([kept, classes + np.arange(len(tree))])
    left, right, size = tree[:, [0, 1, 3]].astype(np.int64).T
    return [np.arange(len(tree)), number[left], number[right], tree[:, 2], size]


def _table(columns: dict[str, pa.DataType], method: str, *values: Any) -> pa.Table:
    arrays = [[method] * len(values[0]), *values]
    return pa.table({name: pa.array(found, columns[name]) for name, found in zip(columns, arrays, strict=True)})


def _joined(columns: dict[str, pa.DataType], tables: Sequence[pa.Table]) -> pa.Table:
    return pa.concat_tables([pa.schema(columns).empty_table(), *tables])
