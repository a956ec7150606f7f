"""Maps: classes as points in the plane, similar ones close to each other.

Nothing is random. The same similarities give the same map.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve, eigh, orthogonal_procrustes
from scipy.spatial.distance import cdist
from scipy.stats import rankdata

from labelsim.statistics.clustering import distances

__all__ = ["align", "classical_mds", "embed", "evenly_spaced", "fit_square", "interpolate", "mds", "smacof"]

_ITERATIONS = 300
_TOLERANCE = 1e-4  # of the map's size: less than a pixel
_EXPONENT = 0.75  # of ranks
_SMALLEST = 0.01  # distances below it weigh as much, which keeps the weights within four orders of magnitude
_BETWEEN = 4  # landmarks that place another class
_BLOCK = 1024  # rows


def evenly_spaced(length: int, count: int) -> NDArray[np.int64]:
    """At most `count` different indices below `length`, at equal distances."""
    count = min(length, count)
    return np.arange(count) * length // max(count, 1)


def embed(similarity: NDArray[np.floating], landmarks: NDArray[np.int64], largest: float = 1.0) -> NDArray[np.float64]:
    """Map of all classes: landmarks are placed by `mds`, all other classes between them by `interpolate`.

    Parameters
    ----------
    similarity : (N, L) float
        Similarity of each class to each landmark; NaN where there is none.
    landmarks : (L,) int64
        Which classes are landmarks, in increasing order; all of them if L = N.
    largest : float
        Similarity of two classes that are the same.

    Returns
    -------
    (N, 2) float64
        In no particular unit.
    """
    placed = mds(distances(similarity[landmarks], largest))
    points = np.empty((len(similarity), 2))
    others = np.setdiff1d(np.arange(len(similarity)), landmarks)
    for start in range(0, len(others), _BLOCK):
        some = others[start : start + _BLOCK]
        points[some] = interpolate(similarity[some], placed)
    points[landmarks] = placed
    return points


def mds(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    r"""Multidimensional scaling of the ranks of distances, which favors small ones.

    .. math:: \min \sum_{i < j} (|x_i - x_j| - d_{ij})^2 / \max(d_{ij}, 0.01)^2,
        \quad d_{ij} = \left(\frac{r_{ij} + r_{ji}}{2 (N - 1)}\right)^{3/4}

    r_ij is the rank of j among the neighbors of i, from 1 to N - 1; tied ones have their mean rank. d is 0 where
    the distance is 0. The sum is minimized by `smacof` from `classical_mds`.

    Parameters
    ----------
    distance : (N, N) float64
        Symmetric, 0 on the diagonal.

    Returns
    -------
    (N, 2) float64
        Centered, on the principal axes. On each axis, the point farthest from 0 (the first of several) is positive.

    Notes
    -----
    Ranks give crowded regions as much room as sparse ones. With the exponent 1/2, classes would fill the plane evenly;
    with 1, similar classes would lie on top of each other.
    """
    if len(distance) < 2:
        return np.zeros((len(distance), 2))
    target = _ranked(distance)
    weights = np.maximum(target, _SMALLEST) ** -2
    points = smacof(target, weights, classical_mds(target))
    points -= points.mean(axis=0)
    points = points @ np.linalg.eigh(points.T @ points)[1][:, ::-1]
    size = np.abs(points)
    farthest = np.argmax(size >= size.max(axis=0) * (1 - 1e-6), axis=0)  # equal ones differ by rounding
    return points * np.where(points[farthest, [0, 1]] < 0, -1, 1)


def _ranked(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    others = distance + np.diag(np.full(len(distance), -1.0))  # a class is the first of its own neighbors
    ranks = rankdata(others, axis=1) - 1
    return np.where(distance > 0, ((ranks + ranks.T) / 2 / (len(distance) - 1)) ** _EXPONENT, 0)


def classical_mds(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Classical (Torgerson) scaling: exact for distances between points in a plane.

    Parameters
    ----------
    distance : (N, N) float64
        Symmetric, 0 on the diagonal; N at least 2.

    Returns
    -------
    (N, 2) float64
        Centered, on the principal axes, with arbitrary signs.

    References
    ----------
    W. S. Torgerson (1952), "Multidimensional scaling: I. Theory and method", Psychometrika 17.
    """
    squared = distance**2
    centered = squared - squared.mean(axis=0) - squared.mean(axis=1)[:, np.newaxis] + squared.mean()
    values, vectors = eigh(-centered / 2, subset_by_index=[len(distance) - 2, len(distance) - 1])
    result: NDArray[np.float64] = vectors[:, ::-1] * np.sqrt(np.maximum(values[::-1], 0))
    return result


def smacof(
    distance: NDArray[np.float64],
    weights: NDArray[np.float64],
    start: NDArray[np.float64],
    iterations: int = _ITERATIONS,
    tolerance: float = _TOLERANCE,
) -> NDArray[np.float64]:
    r"""Metric multidimensional scaling by majorization; each step, a Guttman transform, lowers the stress.

    .. math:: \sum_{i < j} w_{ij} (|x_i - x_j| - d_{ij})^2

    Parameters
    ----------
    distance : (N, N) float64
        d, symmetric; N at least 2.
    weights : (N, N) float64
        w, symmetric and positive; the diagonal does not count.
    start : (N, 2) float64
        Where the points are at first.
    iterations : int
        Maximum number of steps.
    tolerance : float
        The last step is the one that moves no point by more than this fraction of the map's longer side.

    Returns
    -------
    (N, 2) float64
        x, centered.

    References
    ----------
    J. de Leeuw (1977), "Applications of convex analysis to multidimensional scaling", in "Recent Developments in
    Statistics". I. Borg, P. J. F. Groenen (2005), "Modern Multidimensional Scaling", chapter 8.
    """
    weights = weights / weights.mean()
    np.fill_diagonal(weights, 0)
    laplacian = np.diag(weights.sum(axis=1)) - weights
    # A constant makes it invertible. It only centers the points.
    factor = cho_factor(laplacian + 1, overwrite_a=True)
    weighted = weights * distance
    points = start
    for _ in range(iterations):
        between = cdist(points, points)
        ratio = np.divide(weighted, between, out=np.zeros_like(between), where=between > 0)
        moved = cho_solve(factor, ratio.sum(axis=1)[:, np.newaxis] * points - ratio @ points)
        change, points = np.abs(moved - points).max(), moved
        if change <= tolerance * np.ptp(points, axis=0).max():
            break
    return points


def interpolate(similarity: NDArray[np.floating], placed: NDArray[np.float64]) -> NDArray[np.float64]:
    """Place classes at a weighted mean of the four most similar landmarks.

    The weight of a landmark is the difference between its similarity and that of the fifth, so it is 0 where another
    landmark takes its place.

    Parameters
    ----------
    similarity : (N, L) float
        Similarity of each class to each landmark; NaN counts as the least similar.
    placed : (L, 2) float64
        The landmarks; L at least 5.

    Returns
    -------
    (N, 2) float64
    """
    values = np.asarray(similarity, dtype=np.float64)
    values = np.where(np.isnan(values), np.nanmin(values, axis=1, keepdims=True, initial=0), values)
    nearest = np.argsort(-values, axis=1, kind="stable")[:, : _BETWEEN + 1]
    best = np.take_along_axis(values, nearest, axis=1)
    weights = best[:, :-1] - best[:, -1:]
    weights[~weights.any(axis=1)] = 1  # five landmarks of the same similarity
    weights /= weights.sum(axis=1, keepdims=True)
    return np.einsum("ij,ijk->ik", weights, placed[nearest[:, :-1]])


def align(points: NDArray[np.float64], reference: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rotate or reflect a map so that it is as close as possible to another map of the same classes.

    Parameters
    ----------
    points : (N, 2) float64
        The map.
    reference : (N, 2) float64
        The other one; NaN for classes that are not in it, which do not count.

    Returns
    -------
    (N, 2) float64

    References
    ----------
    P. H. Schönemann (1966), "A generalized solution of the orthogonal Procrustes problem", Psychometrika 31.
    """
    both = ~np.isnan(reference).any(axis=1)
    if not both.any():
        return points
    one, other = (some[both] - some[both].mean(axis=0) for some in (points, reference))
    result: NDArray[np.float64] = points @ orthogonal_procrustes(one, other)[0]
    return result


def fit_square(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Move and scale a map, in both directions alike, to the middle of the unit square; its longer side is 1."""
    low, high = points.min(axis=0), points.max(axis=0)
    side = (high - low).max()
    return 0.5 + (points - (low + high) / 2) / (side if side > 0 else 1)
