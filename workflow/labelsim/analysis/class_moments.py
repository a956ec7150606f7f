"""Moments of classes from those by fold and class."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from labelsim.methods import MOMENTS
from labelsim.statistics.moments import Moments, empty, total, total_mean
from labelsim.storage.moment_store import CLASSES_PER_CHUNK, channel_blocks, load_moments
from labelsim.storage.zarr_store import blocks, load

if TYPE_CHECKING:
    import xarray

__all__ = ["class_means", "of_classes"]

_CLASSES = 16 * CLASSES_PER_CHUNK  # read at a time


def of_classes(dataset: xarray.Dataset, name: str, without: int | None = None) -> Iterator[Moments]:
    """Moments of all classes over all folds, or over all but one, a block of channels at a time.

    Yields
    ------
    Moments
        count (class,), mean and m2 (class, block).
    """
    dimension, classes = MOMENTS[name], dataset.sizes["class"]
    kept = [fold for fold in range(dataset.sizes["fold"]) if fold != without]
    for part in channel_blocks(dataset.sizes[dimension]):
        result = empty((classes,), part.stop - part.start)
        # All folds of all classes at once would be eight times as much.
        for rows in blocks(classes, _CLASSES):
            by_fold = load_moments(dataset, name, **{"class": rows, dimension: part})
            result.put(rows, total(by_fold.at(kept)))
        yield result


def class_means(dataset: xarray.Dataset, name: str, without: int | None = None) -> Iterator[NDArray[np.float64]]:
    """Means of all classes over all folds, or over all but one, a block of channels at a time.

    Yields
    ------
    (class, block) float64
        The folds' means, weighted by their counts; NaN for a class without images.
    """
    dimension, classes = MOMENTS[name], dataset.sizes["class"]
    count = load(dataset, "count")
    if without is not None:
        count[without] = 0
    for part in channel_blocks(dataset.sizes[dimension]):
        result = np.empty((classes, part.stop - part.start))
        for rows in blocks(classes, _CLASSES):
            result[rows] = total_mean(count[:, rows], load(dataset, f"{name}_mean", **{"class": rows, dimension: part}))
        yield result
