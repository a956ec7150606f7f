"""Compute moments of groups from samples. Apart from `moments`, as only one stage needs Numba for it."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from labelsim.statistics.compiled import compiled
from labelsim.statistics.moments import Moments, empty

__all__ = ["of_groups"]

_CHANNELS = 1024  # at a time, so that a group's samples are still in the processor's cache in the second pass


def of_groups(samples: ArrayLike, groups: ArrayLike, n_groups: int) -> Moments:
    """Moments of samples by group.

    Parameters
    ----------
    samples : (N, D) any float
        One row a sample; summed in float64.
    groups : (N,) int
        The group of each row, 0 to `n_groups` - 1.
    n_groups : int
        Number of groups.

    Returns
    -------
    Moments
        Of `n_groups` groups.

    Raises
    ------
    ValueError
        If a group is outside that range, or the numbers of groups and samples differ.

    Notes
    -----
    Two passes over the differences to the group's first sample: a channel that is constant within a group has exactly
    that mean, and an `m2` of exactly 0.
    """
    samples, groups = np.asarray(samples), np.asarray(groups, dtype=np.int64)
    if groups.shape != samples.shape[:1] or not np.all((groups >= 0) & (groups < n_groups)):
        raise ValueError(f"{len(samples)} samples need as many groups, each from 0 to {n_groups - 1}")
    short = samples.dtype in (np.float16, np.float32)
    result = empty((n_groups,), samples.shape[1])
    result.count[:] = np.bincount(groups, minlength=n_groups)
    order = np.argsort(groups, kind="stable")
    values = np.ascontiguousarray(samples, np.float32 if short else np.float64)
    _sum(values, order, result.count, result.mean, result.m2)
    return result


@compiled
def _sum(
    samples: NDArray[np.floating],
    order: NDArray[np.int64],
    count: NDArray[np.int64],
    means: NDArray[np.float64],
    m2s: NDArray[np.float64],
) -> None:
    """Fill in means and squared deviations; `order` contains the samples' rows, group by group."""
    first, shift, square = np.empty(_CHANNELS), np.empty(_CHANNELS), np.empty(_CHANNELS)
    stop = 0
    for group in range(len(count)):
        start, stop = stop, stop + count[group]
        if start == stop:
            continue
        # Two rows at a time: sums are read and written half as often. If their number is odd, the first is skipped, as
        # its difference is 0.
        odd = (stop - start) % 2
        for channel in range(0, samples.shape[1], _CHANNELS):
            width = min(_CHANNELS, samples.shape[1] - channel)
            row = samples[order[start], channel : channel + width]
            for c in range(width):
                first[c], shift[c] = row[c], 0.0
            for i in range(start + odd, stop, 2):
                row = samples[order[i], channel : channel + width]
                other = samples[order[i + 1], channel : channel + width]
                for c in range(width):
                    shift[c] += (row[c] - first[c]) + (other[c] - first[c])
            for c in range(width):
                shift[c] /= stop - start
                square[c] = odd * shift[c] ** 2
            for i in range(start + odd, stop, 2):
                row = samples[order[i], channel : channel + width]
                other = samples[order[i + 1], channel : channel + width]
                for c in range(width):
                    square[c] += ((row[c] - first[c]) - shift[c]) ** 2 + ((other[c] - first[c]) - shift[c]) ** 2
            for c in range(width):
                means[group, channel + c] = first[c] + shift[c]
                m2s[group, channel + c] = square[c]
