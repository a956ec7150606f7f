"""The similarity matrices of a method, from the stores of a run: of all images, or of all but one fold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from labelsim.analysis.class_moments import class_means, of_classes
from labelsim.methods import METHODS, Method
from labelsim.statistics import similarity
from labelsim.statistics.moments import Moments
from labelsim.statistics.similarity import centered
from labelsim.statistics.welch import usable_channels, welch
from labelsim.storage.moment_store import channel_blocks
from labelsim.storage.zarr_store import load

if TYPE_CHECKING:
    import xarray

__all__ = ["columns", "matrices"]


def matrices(
    stores: Mapping[str, xarray.Dataset],
    method: str,
    channels: NDArray[np.bool_],
    block: int,
    without: int | None = None,
) -> Iterator[NDArray[np.float64]]:
    """Similarity matrices of a method, some rows at a time.

    Parameters
    ----------
    stores : mapping of str to xarray.Dataset
        The run's merged moments (`moments`), and the method's store. Welch's t is computed from the moments if there is
        no store of it, or if a fold is left out.
    method : str
        A key of `labelsim.methods.METHODS`.
    channels : (G, channel) bool
        Channels of each layer group, for methods with layer groups.
    block : int
        Rows at a time.
    without : int, optional
        The fold to leave out.

    Yields
    ------
    (G, R, C) float64
        Rows in order; G is 1 for methods without layer groups. NaN where there is no similarity.
    """
    chosen, moments = METHODS[method], stores["moments"]
    groups = channels if chosen.by_layer else None
    compare, vectors = getattr(similarity, chosen.function), partial(columns, stores, chosen, without)
    if without is not None and block < moments.sizes["class"]:
        held = list(vectors())  # computed once, though they are read for each block of rows
        vectors = partial(iter, held)
    yield from compare(vectors, moments.sizes["class"], groups, block)


def columns(stores: Mapping[str, xarray.Dataset], method: Method, without: int | None = None) -> Iterator[Any]:
    """What represents the classes under a method, a block of columns at a time; parameters as for `matrices`.

    Yields
    ------
    (C, B) float64, or Moments for `pairwise`
        NaN for a class that has no similarities; 0 in channels that are left out of welch.
    """
    moments = stores["moments"]
    kept = [fold for fold in range(moments.sizes["fold"]) if fold != without]
    if method.store == "welch" and without is None and "welch" in stores:
        usable = load(stores["welch"], "usable")
        for part in channel_blocks(len(usable)):
            yield _masked(load(stores["welch"], "t", channel=part), usable[part])
    elif method.store == "welch":
        count = load(moments, "count").sum(axis=0)
        for block in of_classes(moments, method.variable, without):
            t = welch(_as_many(block, count)).t
            yield _masked(t, usable_channels(t))
    elif method.store == "conformal":
        held, images = (load(stores["conformal"], name)[kept].sum(axis=0) for name in ("held", "images"))
        yield _by_class(moments, [_divided(held, images[:, np.newaxis])])
    elif method.store == "head":
        output = load(moments, "output_index")
        present = (output >= 0) & load(moments, "count").any(axis=0)  # a class without images is in no matrix
        yield np.where(present[:, np.newaxis], load(stores["head"], "weight")[output], np.nan)
    elif method.function == "pairwise":
        count = load(moments, "count").sum(axis=0)
        for block in of_classes(moments, method.variable, without):
            yield _as_many(block, count)
    elif method.function == "mutual":
        yield _by_class(moments, class_means(moments, method.variable, without))
    elif method.centered:
        count = load(moments, "count")
        weights = np.where(count[kept].any(axis=0), count.sum(axis=0), 0)
        for means in class_means(moments, method.variable, without):
            yield centered(means, weights)
    else:
        yield from class_means(moments, method.variable, without)


def _masked(t: NDArray[np.float64], usable: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Put 0 in channels that are not usable, which adds nothing to a product or a norm."""
    tested = ~np.isnan(t).all(axis=1)
    t[np.ix_(tested, ~usable)] = 0.0
    return t


def _as_many(moments: Moments, count: NDArray[np.int64]) -> Moments:
    """Moments of the same mean and variance, as if of more samples: the t of fewer is not comparable.

    The classes also keep their shares of all images. Folds leave out more of one class than of another, which would be
    taken for noise in the mean of all.
    """
    variance = moments.count > 1
    factor = np.where(variance, _divided(count - 1, moments.count - 1), 1.0)
    return Moments(np.where(variance, count, moments.count), moments.mean, moments.m2 * factor[:, np.newaxis])


def _by_class(moments: xarray.Dataset, outputs: Iterable[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Columns of the classes, (class, class), from blocks of columns of the outputs; NaN for a class without output."""
    output = load(moments, "output_index")
    result = np.full((len(output), len(output)), np.nan)
    start = 0
    for block in outputs:
        inside = (output >= start) & (output < start + block.shape[1])
        result[:, inside] = block[:, output[inside] - start]
        start += block.shape[1]
    return result


def _divided(a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.float64]:
    with np.errstate(divide="ignore", invalid="ignore"):
        result: NDArray[np.float64] = a / b
    return result
