"""The most similar classes of every class."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Neighbors", "top_k"]

_BLOCK = 1024


class Neighbors(NamedTuple):
    """Table of neighbors, sorted by class and rank.

    Attributes
    ----------
    class_index, neighbor_index : (R,) int32
        Row and column of the similarity matrix.
    rank : (R,) int32
        1 for the most similar class.
    similarity : (R,) float32
        Value in the matrix.
    """

    class_index: NDArray[np.int32]
    rank: NDArray[np.int32]
    neighbor_index: NDArray[np.int32]
    similarity: NDArray[np.float32]


def top_k(similarity: NDArray[np.float32], k: int, first: int = 0) -> Neighbors:
    """The k most similar other classes of every class.

    Parameters
    ----------
    similarity : (R, C) float32
        The similarity matrix, or some of its rows; NaN where there is no similarity.
    k : int
        Maximum number of neighbors of a class.
    first : int
        Class index of the first row.

    Returns
    -------
    Neighbors
        Fewer than k rows for a class with fewer known similarities. A class is never its own neighbor. For equal
        similarities the smaller index comes first.
    """
    parts = range(0, len(similarity), _BLOCK)
    tables = [_top_k(similarity[start : start + _BLOCK], first + start, k) for start in parts]
    if not tables:
        return Neighbors(*(np.zeros(0, dtype=dtype) for dtype in ("i4", "i4", "i4", "f4")))
    return Neighbors(*(np.concatenate(column) for column in zip(*tables, strict=True)))


def _top_k(block: NDArray[np.float32], start: int, k: int) -> Neighbors:
    rows, classes = block.shape
    negated = -block
    negated[np.arange(rows), start + np.arange(rows)] = np.nan
    # Only values up to the k-th and its ties are sorted. NaN comes last, so if the k-th is NaN, all others are kept.
    kth = np.partition(negated, min(k, classes) - 1, axis=1)[:, min(k, classes) - 1, np.newaxis]
    row, neighbor = np.nonzero((negated <= kth) | (np.isnan(kth) & ~np.isnan(negated)))
    # The sort is stable, so among equal values the smaller index stays first.
    order = np.lexsort((negated[row, neighbor], row))
    row, neighbor = row[order], neighbor[order]
    rank = np.arange(len(row)) - np.searchsorted(row, row) + 1
    best = rank <= k
    row, neighbor, rank = row[best], neighbor[best], rank[best]
    return Neighbors(
        (start + row).astype(np.int32),
        rank.astype(np.int32),
        neighbor.astype(np.int32),
        block[row, neighbor],
    )
