"""The most similar classes of every class."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Neighbors", "top_k"]

_BLOCK = 1024


class Neighbors(NamedTuple):
    """Neighbours as a table, sorted by class and rank.

    Attributes
    ----------
    class_index, neighbor_index : (R,) int32
        Row and column of the similarity matrix.
    rank : (R,) int32
        1 for the most similar class.
    similarity : (R,) float32
        As it stands in the matrix.
    """

    class_index: NDArray[np.int32]
    rank: NDArray[np.int32]
    neighbor_index: NDArray[np.int32]
    similarity: NDArray[np.float32]


def top_k(similarity: NDArray[np.float32], k: int) -> Neighbors:
    """The k most similar other classes of every class.

    Parameters
    ----------
    similarity : (C, C) float32
        NaN where there is no similarity.
    k : int
        At most so many neighbours a class.

    Returns
    -------
    Neighbors
        Fewer than k rows for a class where fewer similarities are known. A class is never its own
        neighbour. Of equal similarities the smaller index comes first.
    """
    tables = [_top_k(similarity[start : start + _BLOCK], start, k) for start in range(0, len(similarity), _BLOCK)]
    if not tables:
        return Neighbors(*(np.zeros(0, dtype=dtype) for dtype in ("i4", "i4", "i4", "f4")))
    return Neighbors(*(np.concatenate(column) for column in zip(*tables, strict=True)))


def _top_k(block: NDArray[np.float32], start: int, k: int) -> Neighbors:
    rows = np.arange(len(block))
    negated = -block
    negated[rows, start + rows] = np.nan
    # A stable sort keeps the smaller index first among equals, and puts NaN last.
    order = np.argsort(negated, axis=1, kind="stable")[:, :k]
    known = ~np.isnan(np.take_along_axis(negated, order, axis=1))
    row, rank = np.nonzero(known)
    neighbor = order[row, rank]
    return Neighbors(
        (start + row).astype(np.int32),
        (rank + 1).astype(np.int32),
        neighbor.astype(np.int32),
        block[row, neighbor],
    )
