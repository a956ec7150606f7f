"""p values of Welch's test in logarithms, adjusted for many tests, and the size of the effect."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaln, stdtr

from labelsim.statistics.moments import Moments

__all__ = ["ALTERNATIVES", "benjamini_hochberg", "effect_size", "log_p"]

ALTERNATIVES = ("two-sided", "less", "greater")

_SMALL = 1e-290  # below it, digits of p are lost, and then p is 0
_TERMS = 20  # of the continued fraction; where p is that small, ten are exact to the last digit


def log_p(t: NDArray[np.float64], df: NDArray[np.float64], alternative: str = "two-sided") -> NDArray[np.float64]:
    """Logarithm of the p value of a t test.

    Parameters
    ----------
    t : array of float64
        The statistic.
    df : array of float64
        Degrees of freedom, of the same shape; not used where t is 0 and df is NaN, as in a constant channel.
    alternative : str
        Of `ALTERNATIVES`, as SciPy names them: `less` if the first mean is smaller than the second.

    Returns
    -------
    array of float64
        Natural logarithms, right where p itself would underflow; 0 for a constant channel.
    """
    if alternative == "two-sided":
        found = np.minimum(np.log(2) + _log_tail(-np.abs(t), df), 0.0)
    else:
        found = _log_tail(t if alternative == "less" else -t, df)
    return np.where((t == 0) & np.isnan(df), 0.0, found)


def benjamini_hochberg(log_p: NDArray[np.float64]) -> NDArray[np.float64]:
    r"""Adjust p values so that a threshold limits the false discovery rate (Benjamini and Hochberg 1995).

    .. math:: q_{(i)} = \min_{j \ge i} \min(1, p_{(j)} m / j)

    Parameters
    ----------
    log_p : (..., m) float64
        Natural logarithms of the p values of m tests.

    Returns
    -------
    (..., m) float64
        Natural logarithms of the adjusted p values, in the order of the tests. Equal to the logarithm of
        ``scipy.stats.false_discovery_control(p)``.
    """
    tests = log_p.shape[-1]
    order = np.argsort(log_p, axis=-1)
    scaled = np.take_along_axis(log_p, order, axis=-1) + np.log(tests / np.arange(1, tests + 1))
    smallest = np.minimum.accumulate(scaled[..., ::-1], axis=-1)[..., ::-1]
    result = np.empty_like(log_p)
    np.put_along_axis(result, order, np.minimum(smallest, 0.0), axis=-1)
    return result


def effect_size(a: Moments, b: Moments) -> NDArray[np.float64]:
    r"""Difference of two means in units of the standard deviation.

    .. math:: d = (\mu_a - \mu_b) / \sqrt{(v_a + v_b) / 2}

    Unlike t, it does not grow with the number of samples. It is Cohen's d without pooling by the number of samples.

    Parameters
    ----------
    a, b : Moments
        Of the same shape.

    Returns
    -------
    (G, D) float64
        0 where the means are equal and both variances are 0; NaN for groups of fewer than two samples.

    References
    ----------
    J. Cohen (1988), "Statistical Power Analysis for the Behavioral Sciences", eq. 2.3.2: the effect size for groups of
    unequal variances.
    """
    difference = a.mean - b.mean
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = np.sqrt((a.variance() + b.variance()) / 2)
        return np.where((difference == 0) & (spread == 0), 0.0, difference / spread)


def _log_tail(t: NDArray[np.float64], df: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logarithm of the probability of a value below t under Student's distribution."""
    probability = stdtr(df, t)
    tiny = probability < _SMALL
    result = np.log(probability, where=~tiny, out=np.empty_like(probability))
    result[tiny] = _log_far_tail(-t[tiny], df[tiny])
    return result


def _log_far_tail(t: NDArray[np.float64], df: NDArray[np.float64]) -> NDArray[np.float64]:
    r"""Logarithm of the probability of a value above t, for large t.

    The probability is :math:`I_x(df / 2, 1 / 2) / 2` at :math:`x = df / (df + t^2)`. The incomplete beta function is
    computed by its continued fraction (DLMF 8.17.22).
    """
    a, b = df / 2, 0.5
    ratio = 2 * np.log(t) - np.log(df)  # of t^2 to df, in logarithms as t^2 may overflow
    log_x = -np.logaddexp(0.0, ratio)
    x = np.exp(log_x)
    fraction = np.ones_like(x)
    for n in range(_TERMS, 0, -1):
        m = n // 2
        factor = m * (b - m) if n % 2 == 0 else -(a + m) * (a + b + m)
        fraction = 1 + factor * x / ((a + n - 1) * (a + n)) / fraction
    return a * log_x - b * np.logaddexp(0.0, -ratio) - np.log(2 * a) - betaln(a, b) - np.log(fraction)
