"""How similar single samples are to classes, and which channels make them so."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from labelsim.statistics.moments import Moments

__all__ = ["contributions", "cosines", "descending", "largest_deviation", "standardized"]


def largest_deviation(n: int) -> float:
    r"""How many standard deviations a sample can lie from the mean of n samples, of which it is one.

    .. math:: (n - 1) / \sqrt n

    Parameters
    ----------
    n : int
        Number of samples; the standard deviation is the unbiased one.

    References
    ----------
    P. A. Samuelson (1968), "How deviant can you be?", Journal of the American Statistical Association 63.
    """
    return float((n - 1) / np.sqrt(n)) if n else 0.0


def standardized(values: NDArray[np.floating], moments: Moments) -> NDArray[np.float64]:
    """Deviations from the mean, in unbiased standard deviations.

    Parameters
    ----------
    values : (N, D) float
        Samples.
    moments : Moments
        Of the samples of the dataset: count (), mean and m2 (D,).

    Returns
    -------
    (N, D) float64
        0 in channels that are constant in the dataset.
    """
    deviation = np.sqrt(moments.variance())
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(deviation > 0, (values - moments.mean) / deviation, 0.0)


def cosines(blocks: Iterable[tuple[NDArray[np.floating], NDArray[np.floating]]]) -> NDArray[np.float64]:
    """Cosine of each of N vectors with each of C vectors.

    Parameters
    ----------
    blocks : iterable of ((N, B), (C, B)) float
        Both, in blocks of the same columns; summed in float64. At least one.

    Returns
    -------
    (N, C) float64
        NaN for vectors that contain NaN or are zero.
    """
    products, squares, other_squares = np.zeros(()), np.zeros(()), np.zeros(())
    for block in blocks:
        a, b = (np.asarray(vectors, dtype=np.float64) for vectors in block)
        products = products + a @ b.T
        squares = squares + np.einsum("ij,ij->i", a, a)
        other_squares = other_squares + np.einsum("ij,ij->i", b, b)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.clip(products / np.outer(np.sqrt(squares), np.sqrt(other_squares)), -1.0, 1.0)


def contributions(a: NDArray[np.floating], b: NDArray[np.floating]) -> NDArray[np.float64]:
    r"""What each channel contributes to the cosine of two vectors.

    .. math:: a_j b_j / (|a| |b|)

    Parameters
    ----------
    a, b : (D,) float
        Vectors that are not zero.

    Returns
    -------
    (D,) float64
        They add up to the cosine.
    """
    products: NDArray[np.float64] = np.asarray(a, dtype=np.float64) * b
    return products / (np.linalg.norm(a) * np.linalg.norm(b))


def descending(values: NDArray[np.floating], k: int) -> NDArray[np.int64]:
    """Positions of the k largest values, the largest first; of equal ones the first one first, and never of NaN."""
    order = np.argsort(-values, kind="stable")
    return order[~np.isnan(values[order])][:k]
