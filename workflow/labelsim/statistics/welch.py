"""Welch's t statistic of every class against all other samples, channel by channel."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from labelsim.statistics.moments import Moments, rest

__all__ = ["Welch", "two_samples", "usable_channels", "welch"]

_VALUES = 2**16  # values of t at a time, so that intermediate results stay in the processor's cache


class Welch(NamedTuple):
    """Welch's test of C classes on D channels.

    Attributes
    ----------
    t : (C, D) float64
        The statistic.
    df : (C, D) float64
        Degrees of freedom (Welch-Satterthwaite).
    """

    t: NDArray[np.float64]
    df: NDArray[np.float64]


def welch(classes: Moments) -> Welch:
    r"""Welch's t of each class against all other samples (eq. 7-9 of the paper).

    .. math:: t = (\mu_c - \mu_r) / \sqrt{v_c / n_c + v_r / n_r}

    with unbiased variances v, and r all samples that are not of class c.

    Parameters
    ----------
    classes : Moments
        Of C classes: count (C,), mean and m2 (C, D).

    Returns
    -------
    Welch
        `t` and `df`, (C, D) each. A channel that is constant over all samples has t = 0 and df NaN. t is NaN if either
        side has fewer than two samples, and infinite if both sides are constant but differ.

    References
    ----------
    B. L. Welch (1947), "The generalization of 'Student's' problem when several different population
    variances are involved", Biometrika 34. Equal to ``scipy.stats.ttest_ind(equal_var=False)``.
    """
    others = rest(classes)
    result = Welch(np.empty(classes.mean.shape), np.empty(classes.mean.shape))
    size = max(1, _VALUES // max(1, classes.mean.shape[1]))
    for start in range(0, len(classes.count), size):
        rows = slice(start, start + size)
        result.t[rows], result.df[rows] = two_samples(classes.at(rows), others.at(rows))
    return result


def two_samples(a: Moments, b: Moments) -> Welch:
    """Welch's t of samples a against samples b, group by group; as in `welch`, where b is the rest."""
    with np.errstate(divide="ignore", invalid="ignore"):
        of_a = a.variance() / a.count[:, np.newaxis]
        of_b = b.variance() / b.count[:, np.newaxis]
        difference, both = a.mean - b.mean, of_a + of_b
        t = difference / np.sqrt(both)
        # Shares instead of squares of variances, so that channels of tiny values do not underflow.
        share = of_a / both
        df = 1 / (share**2 / (a.count - 1)[:, np.newaxis] + (1 - share) ** 2 / (b.count - 1)[:, np.newaxis])
    t[(difference == 0) & (both == 0)] = 0.0
    return Welch(t, df)


def usable_channels(t: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Channels whose t is finite for every class that can be tested.

    Parameters
    ----------
    t : (C, D) float64
        As `welch` returns it; rows of NaN only are classes that cannot be tested.

    Returns
    -------
    (D,) bool
        False for a channel to leave out of every class's vector.
    """
    tested = ~np.isnan(t).all(axis=1)
    return np.all(np.isfinite(t[tested]), axis=0)
