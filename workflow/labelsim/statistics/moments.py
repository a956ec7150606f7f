"""Count, mean and sum of squared deviations of groups of samples, and their merging."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Moments", "empty", "merge", "rest", "total", "total_mean"]


@dataclass(frozen=True)
class Moments:
    """Moments of groups of samples; G is any leading shape, such as (classes,) or (folds, classes).

    Attributes
    ----------
    count : (G) int64
        Number of samples.
    mean : (G, D) float64
        Mean; 0 where `count` is 0.
    m2 : (G, D) float64
        Sum of squared deviations from the mean; 0 where `count` is 0.
    """

    count: NDArray[np.int64]
    mean: NDArray[np.float64]
    m2: NDArray[np.float64]

    def __iter__(self) -> Iterator[NDArray[Any]]:
        return iter((self.count, self.mean, self.m2))

    def at(self, index: Any) -> Moments:
        """Moments of the groups that `index` selects along the leading axes."""
        return Moments(self.count[index], self.mean[index], self.m2[index])

    def put(self, index: Any, moments: Moments) -> None:
        """Replace the moments of the groups that `index` selects, in place."""
        self.count[index], self.mean[index], self.m2[index] = moments

    def variance(self) -> NDArray[np.float64]:
        """Unbiased variance, (G, D) float64; NaN for groups of fewer than two samples."""
        with np.errstate(divide="ignore", invalid="ignore"):
            freedom = np.where(self.count > 1, self.count - 1, np.nan)
            return self.m2 / freedom[..., np.newaxis]


def empty(shape: tuple[int, ...], dimension: int) -> Moments:
    """Moments of groups without samples: `shape` groups of vectors of length `dimension`."""
    zeros = np.zeros((*shape, dimension))
    return Moments(np.zeros(shape, dtype=np.int64), zeros, zeros.copy())


def merge(a: Moments, b: Moments) -> Moments:
    """Moments of the union of two disjoint sets of samples, group by group.

    The pairwise update of Chan, Golub and LeVeque (1983), "Algorithms for computing the sample
    variance: analysis and recommendations", The American Statistician 37(3), eq. 2.1.

    Parameters
    ----------
    a, b : Moments
        Of the same shape.

    Returns
    -------
    Moments
        Of the same shape.
    """
    count = a.count + b.count
    # The share of an empty group is exactly 0, so its mean of 0 has no effect.
    share = (b.count / np.maximum(count, 1))[..., np.newaxis]
    difference = b.mean - a.mean
    shift = difference * share
    cross = shift * a.count[..., np.newaxis] * difference
    return Moments(count, a.mean + shift, a.m2 + b.m2 + cross)


def total(moments: Moments) -> Moments:
    """Moments of all groups along the first axis together, merged in order."""
    result = moments.at(0)
    for index in range(1, len(moments.count)):
        result = merge(result, moments.at(index))
    return result


def total_mean(count: NDArray[np.int64], mean: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean of all groups along the first axis together.

    Parameters
    ----------
    count : (F, G) int64
        Number of samples.
    mean : (F, G, D) float64
        Means; not used where `count` is 0.

    Returns
    -------
    (G, D) float64
        NaN without samples.
    """
    n = count[..., np.newaxis]
    with np.errstate(invalid="ignore"):
        found: NDArray[np.float64] = (n * np.where(n > 0, mean, 0.0)).sum(axis=0) / n.sum(axis=0)
    return found


def rest(moments: Moments) -> Moments:
    """Moments of the samples of all other classes, for each class.

    Parameters
    ----------
    moments : Moments
        Of C classes: count (C,), mean and m2 (C, D).

    Returns
    -------
    Moments
        Of the same shape; the rest of class c is the classes before it merged with those after it.

    Notes
    -----
    Nothing is subtracted, so nothing cancels even if one class has nearly all samples.
    """
    classes, dimension = moments.mean.shape
    after = empty((classes,), dimension)
    following = empty((), dimension)
    for index in range(classes - 1, -1, -1):
        after.put(index, following)
        following = merge(moments.at(index), following)
    preceding = empty((), dimension)
    for index in range(classes):
        after.put(index, merge(preceding, after.at(index)))
        preceding = merge(preceding, moments.at(index))
    return after
