"""How much an estimate depends on the choice of images: the delete-a-group jackknife."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

__all__ = ["SCALES", "Scale", "Stability", "jackknife", "ranks"]

_LEVEL = 0.95


class Scale(NamedTuple):
    """A scale on which errors are about normal: a function, its inverse, and the slope of the inverse."""

    forward: Callable[[NDArray[np.float64]], NDArray[np.float64]]
    back: Callable[[NDArray[np.float64]], NDArray[np.float64]]
    slope: Callable[[NDArray[np.float64]], NDArray[np.float64]]  # takes what `back` returns


SCALES = {
    "atanh": Scale(np.arctanh, np.tanh, lambda x: 1 - x**2),  # Fisher's transformation, for cosines
    "linear": Scale(lambda x: x, lambda z: np.minimum(z, 0), np.ones_like),  # for negative distances
    "arcsin": Scale(  # for shares
        lambda x: np.arcsin(np.sqrt(x)),
        lambda z: np.sin(np.clip(z, 0, np.pi / 2)) ** 2,
        lambda x: 2 * np.sqrt(x * (1 - x)),
    ),
}


class Stability(NamedTuple):
    """Estimates of R similarities with their errors.

    Attributes
    ----------
    corrected : (R,) float64
        Similarity without the bias that comes from few images.
    stderr : (R,) float64
        Its standard error, in units of the similarity.
    low, high : (R,) float64
        95 % interval around `corrected`.
    folds : (R,) int64
        Number of replicates that were used. With fewer than two, the other values are NaN.
    """

    corrected: NDArray[np.float64]
    stderr: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    folds: NDArray[np.int64]


def jackknife(
    similarity: NDArray[np.float64], replicates: NDArray[np.float64], used: NDArray[np.bool_], scale: str
) -> Stability:
    r"""Estimate bias and standard error of similarities from replicates without one fold each.

    On the scale z, with g folds and :math:`z_f` the replicate without fold f:

    .. math::
        \hat z = g z - (g - 1) \bar z, \qquad
        \mathrm{se}^2 = \frac{g - 1}{g} \sum_f (z_f - \bar z)^2

    and the interval is :math:`\hat z \pm t_{g-1} \mathrm{se}`, transformed back.

    Parameters
    ----------
    similarity : (R,) float64
        Computed from all folds.
    replicates : (F, R) float64
        Computed without one fold each.
    used : (F, R) bool
        Replicates to use: those for which something was left out, and which could be computed.
    scale : str
        A key of `SCALES`.

    Returns
    -------
    Stability

    References
    ----------
    M. H. Quenouille (1956), "Notes on bias in estimation", Biometrika 43; the delete-a-group form as in F. M. T. A.
    Busing, E. Meijer and R. van der Leeden (1999), "Delete-m jackknife for unequal m", Statistics and Computing 9, for
    groups of equal size.
    """
    forward, back, slope = SCALES[scale]
    with np.errstate(divide="ignore", invalid="ignore"):
        z, each = forward(similarity), np.where(used, forward(replicates), 0.0)
        folds = used.sum(axis=0)
        mean = each.sum(axis=0) / folds
        squares = np.where(used, (each - mean) ** 2, 0.0).sum(axis=0)
        error = np.sqrt((folds - 1) / folds * squares)
        center = np.where(folds > 1, folds * z - (folds - 1) * mean, np.nan)
        reach = stdtrit(folds - 1, (1 + _LEVEL) / 2) * error
        corrected = back(center)
        stderr = error * slope(corrected)
    return Stability(corrected, stderr, back(center - reach), back(center + reach), folds)


def ranks(
    similarity: NDArray[np.float32], first: int, classes: NDArray[np.integer], neighbors: NDArray[np.integer]
) -> NDArray[np.int64]:
    """The rank of some neighbors among all other classes.

    Parameters
    ----------
    similarity : (R, C) float32
        Some rows of a similarity matrix; NaN where there is no similarity.
    first : int
        Class index of the first row.
    classes, neighbors : (P,) integer
        Pairs of classes; `classes` are among those rows.

    Returns
    -------
    (P,) int64
        1 for the most similar class; 0 where there is no similarity. For equal similarities the smaller index comes
        first, as in `labelsim.statistics.neighbors.top_k`.
    """
    result = np.zeros(len(classes), dtype=np.int64)
    for i, (own, other) in enumerate(zip(classes.tolist(), neighbors.tolist(), strict=True)):
        row = similarity[own - first]
        value = row[other]
        if np.isnan(value):
            continue
        ahead = np.count_nonzero(row[:other] >= value) + np.count_nonzero(row[other + 1 :] > value)
        itself = row[own] >= value if own < other else row[own] > value
        result[i] = 1 + ahead - itself
    return result
