"""The largest values of each row, and of each group of values that come in parts."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

__all__ = ["Largest", "largest"]


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
    return column[_best(values[row, column], row, k)].reshape(rows, k)


class Largest:
    """The k largest values of each of some groups, and their labels, of values that are added in parts.

    Parameters
    ----------
    groups, k : int
        Number of groups, and of values to keep of each, at least 1.
    dtype : dtype
        Of the values, a float.

    Attributes
    ----------
    values : (groups, k) float
        The largest first; of equal values the one that was added earlier first. -inf where there are fewer values.
    labels : (groups, k) object
        None likewise.
    """

    def __init__(self, groups: int, k: int, dtype: DTypeLike) -> None:
        self.values = np.full((groups, k), -np.inf, dtype)
        self.labels = np.full((groups, k), None, object)

    def add(
        self, values: NDArray[np.floating[Any]], groups: NDArray[np.integer[Any]], labels: NDArray[np.object_]
    ) -> None:
        """Add values.

        Parameters
        ----------
        values : (N,) float
            NaN and -inf are left out.
        groups : (N,) int
            The group of each.
        labels : (N,) object
            The label of each.
        """
        new = np.flatnonzero(values > self.values[groups, -1])
        changed, group = np.unique(groups[new], return_inverse=True)
        k = self.values.shape[1]
        group = np.concatenate([np.repeat(np.arange(len(changed)), k), group])
        values = np.concatenate([self.values[changed].ravel(), values[new]])
        labels = np.concatenate([self.labels[changed].ravel(), labels[new]])
        best = _best(values, group, k).reshape(-1, k)  # each of these groups has k values or more
        self.values[changed], self.labels[changed] = values[best], labels[best]


def _best(values: NDArray[np.floating[Any]], groups: NDArray[np.integer[Any]], k: int) -> NDArray[np.int64]:
    """Positions of the k largest values of each group: the largest first, of equal ones the earlier first."""
    order = np.lexsort((-values, groups))  # stable
    groups = groups[order]
    return order[np.arange(len(order)) - np.searchsorted(groups, groups) < k]
