"""Cosine similarity between the rows of a matrix that is read in blocks of columns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

__all__ = ["Columns", "cosine"]

Columns = Callable[[], Iterable[NDArray[np.floating]]]


def cosine(
    columns: Columns, rows: int, groups: NDArray[np.bool_] | None = None, block: int | None = None
) -> Iterator[NDArray[np.float64]]:
    """Cosine between all pairs of C vectors, by groups of their D columns, some rows of the matrices at a time.

    Parameters
    ----------
    columns : callable
        Returns the vectors as an iterable over blocks of columns, (C, B) float; summed in float64. It is called once if
        there is one block of rows, else once more than there are blocks.
    rows : int
        C, the number of vectors.
    groups : (G, D) bool, optional
        The columns of each group; one group of all columns by default.
    block : int, optional
        Rows at a time; all of them by default.

    Yields
    ------
    (G, R, C) float64
        The matrices' rows in order, `block` at a time. Each matrix is symmetric, between -1 and 1, and 1 on the
        diagonal. The rows and columns of vectors that contain NaN or are zero are NaN.
    """
    block = max(1, rows if block is None else min(block, rows))
    parts = [slice(start, min(start + block, rows)) for start in range(0, rows, block)]
    number = 1 if groups is None else len(groups)
    # With one block of rows they are on the diagonal of the products.
    squares = _squares(columns, rows, groups) if len(parts) > 1 else None
    for part in parts:
        products = np.zeros((number, part.stop - part.start, rows))
        defined = np.ones((number, rows), dtype=bool) if squares is None else ~np.isnan(squares)
        for g, vectors in _by_group(columns(), groups):
            defined[g] &= np.isfinite(vectors).all(axis=1)
            values = np.where(defined[g, :, np.newaxis], np.asarray(vectors, dtype=np.float64), 0.0)
            for other in parts:
                products[g, :, other] += _product(values, part, other)
        own = np.arange(part.start, part.stop)
        for g, matrix in enumerate(products):
            norms = np.sqrt(np.where(defined[g], np.diagonal(matrix), np.nan) if squares is None else squares[g])
            norms[norms == 0] = np.nan
            for other in parts:
                matrix[:, other] /= np.outer(norms[part], norms[other])
            np.clip(matrix, -1.0, 1.0, out=matrix)
            matrix[own - part.start, own] = np.where(np.isnan(norms[part]), np.nan, 1.0)
        yield products


def _by_group(
    blocks: Iterable[NDArray[np.floating]], groups: NDArray[np.bool_] | None
) -> Iterator[tuple[int, NDArray[np.floating]]]:
    """Index of a group and a block of its columns, for all groups and blocks."""
    start = 0
    for vectors in blocks:
        stop = start + vectors.shape[1]
        if groups is None:
            yield 0, vectors
        else:
            for g, chosen in enumerate(groups[:, start:stop]):
                if chosen.any():
                    yield g, vectors if chosen.all() else vectors[:, chosen]
        start = stop


def _squares(columns: Columns, rows: int, groups: NDArray[np.bool_] | None) -> NDArray[np.float64]:
    """Squared lengths of vectors by group, (G, C); NaN for vectors with values that are not finite."""
    total = np.zeros((1 if groups is None else len(groups), rows))
    for g, vectors in _by_group(columns(), groups):
        values = np.asarray(vectors, dtype=np.float64)
        total[g] += np.einsum("ij,ij->i", values, values)
        total[g, ~np.isfinite(values).all(axis=1)] = np.nan
    return total


def _product(values: NDArray[np.float64], part: slice, other: slice) -> NDArray[np.float64]:
    """Inner products of two parts of the rows, exactly symmetric in the parts."""
    if other.start < part.start:
        return _product(values, other, part).T
    product: NDArray[np.float64] = values[part] @ values[other].T
    return product
