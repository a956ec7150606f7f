"""The sums of the pairwise Welch statistic. Apart, as Numba takes a second to load."""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from labelsim.statistics.compiled import compiled

__all__ = ["add_squares"]


# The sum may be taken in any order, and nothing is divided by 0: this lets the compiler use vector instructions.
@partial(compiled, error_model="numpy", fastmath={"reassoc"})
def add_squares(sums: NDArray[np.float64], means: NDArray[np.float64], errors: NDArray[np.float64], first: int) -> None:
    """Add the squared t of each pair of classes over some channels, in place.

    `sums` (R, C) has a row for each class from `first` on; pairs within these rows are added above the diagonal only.
    `means` and `errors` (C, B) are the channels' means and squared standard errors.
    """
    rows, classes = sums.shape
    for r in range(rows):
        a = first + r
        for b in range(classes):
            if first <= b <= a:
                continue
            total = 0.0
            for j in range(means.shape[1]):
                difference = means[a, j] - means[b, j]
                # Two equal constants have t = 0: 0 is divided by a tiny number instead of 0.
                total += difference * difference / (errors[a, j] + errors[b, j] + 1e-300)
            sums[r, b] += total
