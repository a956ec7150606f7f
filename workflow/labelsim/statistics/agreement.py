"""How far similarity matrices agree: rank correlation over all pairs of classes, and overlap of the nearest classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from labelsim.statistics.neighbors import Neighbors, top_k

__all__ = ["overlaps", "spearman", "upper"]

Pairs = Sequence[tuple[int, int]]


def upper(matrix: NDArray[np.floating], first: int = 0) -> NDArray[np.floating]:
    """Values above the diagonal, row by row.

    Parameters
    ----------
    matrix : (R, C) float
        A symmetric matrix, or some of its rows.
    first : int
        Index of the first row.
    """
    rows, columns = matrix.shape
    return matrix[np.arange(columns) > first + np.arange(rows)[:, np.newaxis]]


def spearman(vectors: Sequence[NDArray[np.floating]], pairs: Pairs) -> NDArray[np.float64]:
    """Spearman's rank correlation of some pairs of vectors.

    Parameters
    ----------
    vectors : sequence of (N,) float
        NaN where a value is not known.
    pairs : sequence of (int, int)
        Which vectors to compare.

    Returns
    -------
    (P,) float64
        Over the values that both know. Ties have their mean rank. NaN where there are none, or a vector is constant.
    """
    missing = [np.isnan(vector) for vector in vectors]
    ranks: dict[tuple[int, bytes], NDArray[np.float64]] = {}
    result = np.full(len(pairs), np.nan)
    for i, (a, b) in enumerate(pairs):
        known = ~(missing[a] | missing[b])
        if not known.any():
            continue
        pattern = np.packbits(known).tobytes()
        for vector in (a, b):
            if (vector, pattern) not in ranks:
                ranks[vector, pattern] = _standard_ranks(vectors[vector][known])
        result[i] = ranks[a, pattern] @ ranks[b, pattern]
    return result


def overlaps(matrices: Sequence[NDArray[np.floating]], pairs: Pairs, k: int, first: int = 0) -> NDArray[np.float64]:
    """Share of the k nearest classes that two matrices have in common, by class.

    Parameters
    ----------
    matrices : sequence of (R, C) float
        Similarity matrices, or the same rows of each; NaN where there is no similarity.
    pairs : sequence of (int, int)
        Which matrices to compare.
    k : int
        Number of nearest classes.
    first : int
        Class index of the first row.

    Returns
    -------
    (P, R) float64
        Among the classes that both matrices compare a class with; NaN where there are none. Where these are fewer than
        k, all are the nearest.
    """
    missing = [np.isnan(matrix) for matrix in matrices]
    rows, classes = missing[0].shape
    nearest: dict[tuple[int, bytes], Neighbors] = {}
    result = np.full((len(pairs), rows), np.nan)
    for i, (a, b) in enumerate(pairs):
        unknown = missing[a] | missing[b]
        pattern = np.packbits(unknown).tobytes()
        for matrix in (a, b):
            if (matrix, pattern) not in nearest:
                nearest[matrix, pattern] = top_k(np.where(unknown, np.nan, matrices[matrix]), k, first)
        one, other = nearest[a, pattern], nearest[b, pattern]
        row = one.class_index - first
        common = np.isin(_keys(one, classes), _keys(other, classes))
        with np.errstate(invalid="ignore"):
            result[i] = np.bincount(row, common, minlength=rows) / np.bincount(row, minlength=rows)
    return result


def _keys(found: Neighbors, classes: int) -> NDArray[np.int64]:
    """A number for each pair of a class and a neighbor."""
    keys: NDArray[np.int64] = found.class_index.astype(np.int64) * classes + found.neighbor_index
    return keys


def _standard_ranks(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Ranks with mean 0 and length 1, so that an inner product of two is a correlation; NaN if all are equal."""
    ranks = stats.rankdata(values)
    ranks -= (len(ranks) + 1) / 2
    with np.errstate(invalid="ignore"):
        return ranks / np.linalg.norm(ranks)
