"""Top-k accuracy: of images from their logits, and of a dataset from counts by class."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Accuracy", "accuracy", "ranks"]


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


def ranks(logits: NDArray[np.floating], expected: NDArray[np.integer]) -> NDArray[np.int64]:
    """Rank of the expected output of each image among its outputs.

    Parameters
    ----------
    logits : (N, M) floating
        Outputs.
    expected : (N,) integer
        Index of the expected output; negative if it is not known.

    Returns
    -------
    (N,) int64
        From 0, for the largest output, to M - 1; -1 if the expected output is not known, or an output is NaN. Of equal
        outputs the one of smaller index comes first, as in argmax.
    """
    column = expected[:, np.newaxis]
    own = np.take_along_axis(logits, np.maximum(column, 0), axis=1)
    ahead = (logits > own) | ((logits == own) & (np.arange(logits.shape[1]) < column))
    known = (expected >= 0) & ~np.isnan(logits).any(axis=1)
    return np.where(known, ahead.sum(axis=1), -1)


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
