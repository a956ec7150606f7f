"""Bootstrap interval of a mean over classes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

__all__ = ["mean_interval"]

_RESAMPLES = 2000
_VALUES = 2**22  # drawn at a time


def mean_interval(values: NDArray[np.floating], level: float = 0.95) -> tuple[float, float]:
    """Percentile bootstrap interval of a mean.

    The percentile method is enough for a mean of many bounded values; BCa costs a jackknife, which takes the square of
    their number, and has no result where all values are equal.

    Parameters
    ----------
    values : (C,) float
        A value for each class; NaN is left out. Differences between two methods, class by class, give the paired
        bootstrap.
    level : float
        Of confidence.

    Returns
    -------
    low, high : float
        The same for the same values; NaN for fewer than two.
    """
    known = values[~np.isnan(values)]
    if len(known) < 2:
        return np.nan, np.nan
    found = stats.bootstrap(
        (known,),
        np.mean,
        n_resamples=_RESAMPLES,
        batch=max(1, _VALUES // len(known)),
        confidence_level=level,
        method="percentile",
        rng=np.random.default_rng(0),
    )
    return float(found.confidence_interval.low), float(found.confidence_interval.high)
