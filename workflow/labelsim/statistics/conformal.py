"""Conformal prediction sets of a classifier, by the least ambiguous set-valued classifier (LAC)."""

from __future__ import annotations

from math import ceil

import numpy as np
from numpy.typing import NDArray

__all__ = ["LEVEL", "prediction_sets", "scores", "threshold"]

LEVEL = 0.9
"""Share of the images whose set holds their class."""


def scores(probability: NDArray[np.float64], expected: NDArray[np.integer]) -> NDArray[np.float64]:
    """Nonconformity scores: 1 minus the probability of the expected output.

    Parameters
    ----------
    probability : (N, K) float64
        Softmax of the logits of N images.
    expected : (N,) integer
        The output that stands for the class of each image; negative where none is known.

    Returns
    -------
    (N,) float64
        NaN where no output is known.
    """
    own = np.take_along_axis(probability, np.maximum(expected, 0)[:, np.newaxis], axis=1)[:, 0]
    return np.where(expected >= 0, 1 - own, np.nan)


def threshold(calibration: NDArray[np.float64], level: float = LEVEL) -> float:
    """The largest score with which an output is in a prediction set.

    Parameters
    ----------
    calibration : (N,) float64
        Scores of the images to calibrate with.
    level : float
        Wanted coverage.

    Returns
    -------
    float
        The smallest but ``ceil((N + 1) * level)``-th score; infinite if there are too few.

    References
    ----------
    M. Sadinle, J. Lei and L. Wasserman (2019), "Least ambiguous set-valued classifiers with bounded error levels",
    Journal of the American Statistical Association 114.
    """
    rank = ceil((len(calibration) + 1) * level - 1e-9)  # 9.000000000000002 is 9
    return float(np.partition(calibration, rank - 1)[rank - 1]) if rank <= len(calibration) else np.inf


def prediction_sets(probability: NDArray[np.float64], thresholds: NDArray[np.float64]) -> NDArray[np.bool_]:
    """The outputs in each image's prediction set.

    Parameters
    ----------
    probability : (N, K) float64
        Softmax of the logits.
    thresholds : (N,) float64
        As `threshold` returns it, for each image.

    Returns
    -------
    (N, K) bool
        A set may be empty.
    """
    return 1 - probability <= thresholds[:, np.newaxis]
