"""Cosine similarity between the rows of a matrix that comes block by block."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

__all__ = ["cosine"]


def cosine(blocks: Iterable[NDArray[np.floating]], rows: int) -> NDArray[np.float64]:
    """Cosine between every two of C vectors.

    Parameters
    ----------
    blocks : iterable of (C, B) float
        The vectors, a block of columns at a time; summed in float64.
    rows : int
        C, the number of vectors.

    Returns
    -------
    (C, C) float64
        Symmetric, between -1 and 1, 1 on the diagonal. The rows and columns of a vector that holds
        a NaN or is zero throughout are NaN: it has no direction.
    """
    products = np.zeros((rows, rows))
    defined = np.ones(rows, dtype=bool)
    for block in blocks:
        values = np.asarray(block, dtype=np.float64)
        defined &= np.isfinite(values).all(axis=1)
        values = np.where(defined[:, np.newaxis], values, 0.0)
        products += values @ values.T
    norms = np.sqrt(np.diagonal(products))
    norms = np.where(defined & (norms > 0), norms, np.nan)
    result = np.clip(products / np.outer(norms, norms), -1.0, 1.0)
    np.fill_diagonal(result, np.where(np.isnan(norms), np.nan, 1.0))
    return result
