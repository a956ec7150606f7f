"""Moments by fold and class in a store, and the labels of classes and channels that go with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from labelsim.methods import MOMENTS, SPREADS
from labelsim.statistics.moments import Moments, empty, total, total_mean
from labelsim.storage.digests import canonical, digest
from labelsim.storage.zarr_store import Array, Writer, blocks, load

if TYPE_CHECKING:
    import xarray

__all__ = [
    "CHANNELS_PER_CHUNK",
    "CLASSES_PER_CHUNK",
    "TOP",
    "arrays",
    "channel_blocks",
    "class_labels",
    "class_means",
    "load_moments",
    "merged_identity",
    "of_classes",
    "put_moments",
]

CLASSES_PER_CHUNK = 64
CHANNELS_PER_CHUNK = 1024
_CLASSES = 16 * CLASSES_PER_CHUNK  # read at a time if only their totals are kept
TOP = {"top1": 1, "top5": 5}  # counts of correct images, by name: among how many of the largest outputs


def arrays(folds: int, classes: int, widths: Mapping[str, int]) -> dict[str, Array]:
    """The arrays of a store of moments.

    Parameters
    ----------
    folds, classes : int
        Their number.
    widths : mapping of str to int
        Number of columns of each variable of `MOMENTS`.

    Returns
    -------
    dict of str to Array
        `count`, the means and, of `SPREADS`, squared deviations, `top1` and `top5`, `output_index` (the output of each
        class, -1 if it is not known), and the coordinates of classes and channels.
    """
    found = {"count": Array(("fold", "class"), (folds, classes), "int64")}
    for name, dimension in MOMENTS.items():
        shape = (folds, classes, widths[name])
        chunks = (folds, min(classes, CLASSES_PER_CHUNK), min(widths[name], CHANNELS_PER_CHUNK))
        for moment in _kept(name):
            found[f"{name}_{moment}"] = Array(("fold", "class", dimension), shape, "float64", chunks)
    found |= {name: Array(("class",), (classes,), "int64") for name in (*TOP, "output_index")}
    return found | {
        "class_id": Array(("class",), (classes,), "str", coordinate=True),
        "layer": Array(("channel",), (widths["gap"],), "str", coordinate=True),
        "layer_channel": Array(("channel",), (widths["gap"],), "int32", coordinate=True),
    }


def merged_identity(dataset: str, shards: Sequence[str]) -> str:
    """Digest of what the moments of all classes were computed from.

    Parameters
    ----------
    dataset : str
        Digest of the dataset, from the index of the shards.
    shards : sequence of str
        Digests of the shards' stores of moments, in the order of the manifest.
    """
    return digest(canonical([dataset, list(shards)]))


def put_moments(writer: Writer, name: str, first: int, moments: Moments) -> None:
    """Write the moments of some classes; those without samples read as NaN, not as 0.

    Parameters
    ----------
    writer : Writer
        Of a store with `arrays`.
    name : str
        A variable of `MOMENTS`.
    first : int
        Index of the first class, a multiple of `CLASSES_PER_CHUNK`.
    moments : Moments
        count (fold, class), mean and m2 (fold, class, channel).
    """
    absent = (moments.count == 0)[..., np.newaxis]
    for moment in _kept(name):
        values = getattr(moments, moment)
        for i, classes in enumerate(blocks(values.shape[1], CLASSES_PER_CHUNK)):
            for j, channels in enumerate(blocks(values.shape[2], CHANNELS_PER_CHUNK)):
                key = (0, first // CLASSES_PER_CHUNK + i, j)
                part = np.where(absent[:, classes], np.nan, values[:, classes, channels])
                writer.put(f"{name}_{moment}", key, part)


def load_moments(dataset: xarray.Dataset, name: str, **where: slice) -> Moments:
    """Moments of a part of a store.

    Parameters
    ----------
    dataset : xarray.Dataset
        A store of moments.
    name : str
        A variable of `MOMENTS`.
    **where : slice
        The part along `class` and the variable's dimension.

    Returns
    -------
    Moments
        count (fold, class), mean and m2 (fold, class, channel); m2 is NaN if it is not kept.
    """
    count_where = {dim: part for dim, part in where.items() if dim == "class"}
    count = load(dataset, "count", **count_where)
    present = (count > 0)[..., np.newaxis]
    found = [np.where(present, load(dataset, f"{name}_{moment}", **where), 0.0) for moment in _kept(name)]
    return Moments(count, found[0], found[1] if name in SPREADS else np.full_like(found[0], np.nan))


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


def _kept(name: str) -> tuple[str, ...]:
    return ("mean", "m2") if name in SPREADS else ("mean",)


def channel_blocks(channels: int) -> Iterator[slice]:
    """Blocks of channels, each as wide as a chunk."""
    return blocks(channels, CHANNELS_PER_CHUNK)


def class_labels(dataset: xarray.Dataset) -> dict[str, NDArray[Any]]:
    """Ids and names of the classes of a store."""
    return {name: load(dataset, name) for name in ("class_id", "class_name")}
