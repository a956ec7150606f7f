"""The largest values of each row."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["largest"]


def largest(values: NDArray[np.floating[Any]], k: int) -> NDArray[np.int64]:
    """Columns of the k largest values of each row.

    Parameters
    ----------
    values : (R, N) float
        Without NaN.
    k : int
        Number of columns to choose, at most N are.

    Returns
    -------
    (R, min(k, N)) int64
        The largest first; of equal values the one in the earlier column first.
    """
    rows, columns = values.shape
    k = min(k, columns)
    if k == 0:
        return np.empty((rows, 0), np.int64)
    # Only the values down to the k-th and its ties are sorted.
    kth = np.partition(values, columns - k, axis=1)[:, columns - k, np.newaxis]
    row, column = np.nonzero(values >= kth)
    order = np.lexsort((-values[row, column], row))  # stable
    row, column = row[order], column[order]
    best = np.arange(len(row)) - np.searchsorted(row, row) < k
    return column[best].reshape(rows, k)
