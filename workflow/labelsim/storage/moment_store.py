"""Moments by fold and class in a store, and the labels of classes and channels that go with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from labelsim.methods import MOMENTS, SPREADS
from labelsim.statistics.moments import Moments
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
    "load_moments",
    "merged_identity",
    "put_moments",
]

CLASSES_PER_CHUNK = 64
CHANNELS_PER_CHUNK = 1024
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


def _kept(name: str) -> tuple[str, ...]:
    return ("mean", "m2") if name in SPREADS else ("mean",)


def channel_blocks(channels: int) -> Iterator[slice]:
    """Blocks of channels, each as wide as a chunk."""
    return blocks(channels, CHANNELS_PER_CHUNK)


def class_labels(dataset: xarray.Dataset) -> dict[str, NDArray[Any]]:
    """Ids and names of the classes of a store."""
    return {name: load(dataset, name) for name in ("class_id", "class_name")}
