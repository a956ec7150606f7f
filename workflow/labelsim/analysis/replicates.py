"""Similarity matrices computed again without one fold of the images."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from labelsim.methods import METHODS, Method
from labelsim.statistics import similarity
from labelsim.statistics.welch import usable_channels, welch
from labelsim.storage.moment_store import class_means, of_classes

if TYPE_CHECKING:
    import xarray

__all__ = ["matrices"]

_VALUES = 2**25  # similarities at a time: 256 MiB


def matrices(
    moments: xarray.Dataset, method: str, groups: NDArray[np.bool_], without: int | None
) -> Iterator[NDArray[np.float64]]:
    """Similarity matrices of a method, some rows at a time.

    Parameters
    ----------
    moments : xarray.Dataset
        The merged moments of a run.
    method : str
        A key of `labelsim.methods.METHODS`.
    groups : (G, channel) bool
        Channels of each layer group; used by methods that compare channels.
    without : int or None
        The fold to leave out.

    Yields
    ------
    (G, R, C) float64
        Rows in order; G is 1 for methods without layer groups.
    """
    chosen, classes = METHODS[method], moments.sizes["class"]
    used = groups if chosen.by_layer else None
    rows = max(1, _VALUES // max(1, classes * (len(groups) if chosen.by_layer else 1)))
    compare = getattr(similarity, chosen.function)
    return compare(partial(_vectors, moments, chosen, without), classes, used, rows)


def _vectors(moments: xarray.Dataset, method: Method, without: int | None) -> Iterator[NDArray[np.float64]]:
    """What represents the classes, a block of columns at a time."""
    if method.store == "moments":
        yield from class_means(moments, method.variable, without)
        return
    for block in of_classes(moments, method.variable, without):
        t = welch(block).t
        t[:, ~usable_channels(t)] = np.where(np.isnan(t).all(axis=1), np.nan, 0.0)[:, np.newaxis]
        yield t
