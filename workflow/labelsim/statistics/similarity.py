"""Cosine similarity between the rows of a matrix that comes block by block."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

__all__ = ["cosine"]

Columns = Callable[[], Iterable[NDArray[np.floating]]]


def cosine(columns: Columns, rows: int, block: int | None = None) -> Iterator[NDArray[np.float64]]:
    """Cosine between every two of C vectors, some rows of the matrix at a time.

    Parameters
    ----------
    columns : callable
        Gives the vectors anew each time: an iterable of (C, B) float, a block of columns at a time; summed in
        float64. It is called once if one block of rows is all, else once more than there are blocks of rows.
    rows : int
        C, the number of vectors.
    block : int, optional
        Rows at a time; all of them by default.

    Yields
    ------
    (R, C) float64
        The matrix's rows, `block` at a time and in their order. The matrix is symmetric, between -1 and 1, 1 on
        the diagonal. The rows and columns of a vector that holds a NaN or is zero throughout are NaN: it has no
        direction.
    """
    block = max(1, rows if block is None else min(block, rows))
    parts = [slice(start, min(start + block, rows)) for start in range(0, rows, block)]
    # Of a whole matrix they stand on its diagonal.
    squares = _squares(columns(), rows) if len(parts) > 1 else None
    for part in parts:
        products = np.zeros((part.stop - part.start, rows))
        defined = np.ones(rows, dtype=bool) if squares is None else ~np.isnan(squares)
        for vectors in columns():
            defined &= np.isfinite(vectors).all(axis=1)
            values = np.where(defined[:, np.newaxis], np.asarray(vectors, dtype=np.float64), 0.0)
            for other in parts:
                products[:, other] += _product(values, part, other)
        norms = np.sqrt(np.where(defined, np.diagonal(products), np.nan) if squares is None else squares)
        norms[norms == 0] = np.nan
        for other in parts:
            products[:, other] /= np.outer(norms[part], norms[other])
        np.clip(products, -1.0, 1.0, out=products)
        own = np.arange(part.start, part.stop)
        products[own - part.start, own] = np.where(np.isnan(norms[part]), np.nan, 1.0)
        yield products


def _squares(blocks: Iterable[NDArray[np.floating]], rows: int) -> NDArray[np.float64]:
    """Squared lengths of vectors; NaN for one that holds a NaN or an infinity."""
    total = np.zeros(rows)
    for block in blocks:
        values = np.asarray(block, dtype=np.float64)
        total += np.einsum("ij,ij->i", values, values)
        total[~np.isfinite(values).all(axis=1)] = np.nan
    return total


def _product(values: NDArray[np.float64], part: slice, other: slice) -> NDArray[np.float64]:
    """Inner products of two parts of the rows; the later with the earlier is the earlier with the later, exactly."""
    if other.start < part.start:
        return _product(values, other, part).T
    product: NDArray[np.float64] = values[part] @ values[other].T
    return product
