"""Welch's t of every class and channel: labelsim against SciPy, from the same features in memory.

Prints a table and writes it to `results/<environment>.csv`. Run with `make bench`.
"""

from __future__ import annotations

import csv
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import scipy
from numpy.typing import NDArray
from scipy import stats

from labelsim.statistics.moments import of_groups
from labelsim.statistics.welch import welch

IMAGES, CHANNELS, CLASSES, REPEATS = 10_000, 1024, 50, 3


def by_labelsim(features: NDArray[np.float32], classes: NDArray[np.int64]) -> NDArray[np.float64]:
    """One pass over the features, and the rest of each class from the other classes' moments."""
    return welch(of_groups(features, classes, CLASSES)).t


def by_scipy(features: NDArray[np.float32], classes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Each class against all other rows, class by class."""
    wide = features.astype(np.float64)
    return np.array(
        [
            stats.ttest_ind(wide[classes == c], wide[classes != c], equal_var=False).statistic  # the oracle
            for c in range(CLASSES)
        ]
    )


def seconds(work: Callable[[], object]) -> float:
    """Time one call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def main() -> None:
    """Time both in turn, compare their results, print and store the table."""
    rng = np.random.default_rng(0)
    features = rng.gamma(0.5, size=(IMAGES, CHANNELS)).astype(np.float32)
    classes = rng.integers(0, CLASSES, IMAGES)
    difference = np.abs(by_labelsim(features, classes) - by_scipy(features, classes)).max()
    pairs = [
        (seconds(lambda: by_labelsim(features, classes)), seconds(lambda: by_scipy(features, classes)))
        for _ in range(REPEATS)
    ]
    row = {
        "what": f"t of {CLASSES} classes and {CHANNELS} channels, {IMAGES} images",
        "labelsim_s": round(statistics.median(ours for ours, _ in pairs), 3),
        "scipy_s": round(statistics.median(theirs for _, theirs in pairs), 3),
        "ratio": round(statistics.median(theirs / ours for ours, theirs in pairs), 1),
        "largest_difference": f"{difference:.1e}",
        "numpy": np.__version__,
        "scipy": scipy.__version__,
    }
    environment = f"{platform.machine()}-{os.cpu_count()}cores-python{platform.python_version()}"
    path = Path(__file__).parent / "results" / f"welch-{environment}.csv"
    path.parent.mkdir(exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, row)
        writer.writeheader()
        writer.writerow(row)
    width = max(map(len, row))
    print("\n".join(f"{key:{width}}  {value}" for key, value in row.items()))


if __name__ == "__main__":
    main()
