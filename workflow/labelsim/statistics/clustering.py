"""Hierarchical clustering of classes by their similarities."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.cluster import hierarchy
from scipy.spatial.distance import squareform

__all__ = ["MAX_CLUSTERED", "average_linkage", "compared", "distances", "leaves"]

MAX_CLUSTERED = 5000  # classes; memory and time grow with their square
_MAX_OPTIMALLY_ORDERED = 1000  # classes; the optimal order takes at least quadratic time


def compared(similarity: NDArray[np.floating]) -> NDArray[np.int64]:
    """Indices of the classes that have a similarity to any other class.

    Parameters
    ----------
    similarity : (C, C) float
        NaN where there is no similarity.

    Returns
    -------
    (N,) int64
        In increasing order.
    """
    present = np.isfinite(similarity)
    np.fill_diagonal(present, False)
    return np.flatnonzero(present.any(axis=1))


def distances(similarity: NDArray[np.floating], largest: float = 1.0) -> NDArray[np.float64]:
    """Distances between classes: the largest possible similarity minus their similarity.

    Parameters
    ----------
    similarity : (N, N) float
        A similarity matrix, symmetric except for rounding. A pair of classes without similarity (NaN) is as far apart
        as the least similar pair.
    largest : float
        Similarity of two classes that are the same: `labelsim.methods.Method.largest`.

    Returns
    -------
    (N, N) float64
        Symmetric, at least 0, and 0 on the diagonal.
    """
    values = np.asarray(similarity, dtype=np.float64)
    # Rounding may take a cosine beyond 1.
    result: NDArray[np.float64] = np.maximum(largest - (values + values.T) / 2, 0)
    np.fill_diagonal(result, 0)
    return np.nan_to_num(result, copy=False, nan=np.nanmax(result, initial=0))


def average_linkage(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Average linkage of classes.

    Parameters
    ----------
    distance : (N, N) float64
        Symmetric, 0 on the diagonal.

    Returns
    -------
    (N - 1, 4) float64
        One row a merge, as `scipy.cluster.hierarchy.linkage` returns it: the two clusters, their distance, and the size
        of the new cluster. The merge of row s makes cluster N + s. The order of the leaves is optimal for up to 1,000
        classes. No rows for fewer than two classes.

    References
    ----------
    R. R. Sokal, C. D. Michener (1958), "A statistical method for evaluating systematic relationships", University of
    Kansas Science Bulletin 38. Z. Bar-Joseph, D. K. Gifford, T. S. Jaakkola (2001), "Fast optimal leaf ordering for
    hierarchical clustering", Bioinformatics 17.
    """
    if len(distance) < 2:
        return np.zeros((0, 4))
    optimal = len(distance) <= _MAX_OPTIMALLY_ORDERED
    pairs = squareform(distance, checks=False)
    tree: NDArray[np.float64] = hierarchy.linkage(pairs, method="average", optimal_ordering=optimal)
    return tree


def leaves(tree: NDArray[np.float64]) -> NDArray[np.int64]:
    """Classes in the order of the leaves of a tree of `average_linkage`, (N,) int64; one class if it has no merges."""
    return hierarchy.leaves_list(tree).astype(np.int64) if len(tree) else np.zeros(1, dtype=np.int64)
