"""Similarity matrices of any source, read some rows at a time."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from labelsim.methods import METHODS
from labelsim.storage.zarr_store import blocks, load

if TYPE_CHECKING:
    import xarray

__all__ = ["Matrix", "nullable", "rankable", "read", "stored"]

logger = logging.getLogger(__name__)

_VALUES = 2**26  # similarities at a time: 256 MiB
_RANKABLE = 4096  # classes
_BYTES = 12  # of memory for a pair of classes in a matrix: its similarity and its rank


class Matrix(NamedTuple):
    """A similarity matrix.

    Attributes
    ----------
    method, group : str
        What it is called in tables.
    rows : callable
        Returns the rows of a slice, (R, C) float32; NaN where there is no similarity.
    """

    method: str
    group: str
    rows: Callable[[slice], NDArray[np.float32]]


def stored(similarity: xarray.Dataset) -> list[Matrix]:
    """The matrices of a run's `similarity.zarr`, one for each method and layer group."""
    groups = load(similarity, "group_name").tolist()
    return [
        Matrix(name, group, partial(_stored_rows, similarity, name, i if method.by_layer else None))
        for name, method in METHODS.items()
        if name in similarity
        for i, group in enumerate(groups if method.by_layer else ["all"])
    ]


def read(matrices: Sequence[Matrix], classes: int) -> Iterator[tuple[int, list[NDArray[np.float32]]]]:
    """The same rows of all matrices, and the index of the first row, until all rows are read."""
    size = max(1, _VALUES // max(1, classes * len(matrices)))
    for rows in blocks(classes, size):
        yield rows.start, [matrix.rows(rows) for matrix in matrices]


def rankable(matrices: int, classes: int) -> bool:
    """Whether there are few enough classes to rank all pairs of them; if not, the log says why."""
    if classes <= _RANKABLE:
        return True
    pairs = classes * (classes - 1) // 2
    logger.info(
        "spearman is null: %s classes have %s pairs, and to rank them in %d matrices would take about %.0f GB of "
        "memory. It is computed for up to %s classes",
        f"{classes:,}",
        f"{pairs:,}",
        matrices,
        _BYTES * pairs * matrices / 1e9,
        f"{_RANKABLE:,}",
    )
    return False


def nullable(values: Sequence[float] | NDArray[np.floating]) -> pa.Array:
    """A column of float64 with null for NaN."""
    return pa.array(values, pa.float64(), from_pandas=True)


def _stored_rows(similarity: xarray.Dataset, method: str, group: int | None, rows: slice) -> NDArray[np.float32]:
    where = {"class": rows} if group is None else {"class": rows, "group": slice(group, group + 1)}
    block = load(similarity, method, **where)
    return block if group is None else block[0]
