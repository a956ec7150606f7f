"""Top-k accuracy: of images from their logits, and of a dataset from counts by class."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Accuracy", "accuracy", "hits"]


class Accuracy(NamedTuple):
    """Accuracy over the classes with an output.

    Attributes
    ----------
    top1, top5 : float
        Fractions of the images; NaN if there are none.
    images, classes : int
        Numbers of images and classes included.
    """

    top1: float
    top5: float
    images: int
    classes: int


def hits(logits: NDArray[np.floating], expected: NDArray[np.integer], k: int) -> NDArray[np.bool_]:
    """Whether the expected output of an image is among its k largest.

    Parameters
    ----------
    logits : (N, M) floating
        Outputs. An image with NaN is never a hit.
    expected : (N,) integer
        Index of the expected output. A negative one is never a hit.
    k : int
        With k >= M every other image is a hit.

    Returns
    -------
    (N,) bool
        For equal outputs the smaller index comes first, as in argmax.
    """
    column = expected[:, np.newaxis]
    own = np.take_along_axis(logits, np.maximum(column, 0), axis=1)
    ahead = (logits > own) | ((logits == own) & (np.arange(logits.shape[1]) < column))
    known = (expected >= 0) & ~np.isnan(logits).any(axis=1)
    return known & (ahead.sum(axis=1) < k)


def accuracy(used: NDArray[np.int64], top1: NDArray[np.int64], top5: NDArray[np.int64]) -> Accuracy:
    """Accuracy over all images, from counts by class.

    Parameters
    ----------
    used : (C,) int64
        Images.
    top1, top5 : (C,) int64
        Hits; -1 for a class without an output, which is not included.

    Returns
    -------
    Accuracy
    """
    counted = (top1 >= 0) & (used > 0)
    images = int(used[counted].sum())
    first, fifth = (float(found[counted].sum()) / images if images else float("nan") for found in (top1, top5))
    return Accuracy(first, fifth, images, int(counted.sum()))
