"""The images that activate channels most."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from labelsim.statistics.largest import largest
from labelsim.storage.zarr_store import load

if TYPE_CHECKING:
    import xarray

__all__ = ["highest_activations"]


def highest_activations(
    features: Iterable[xarray.Dataset], classes: Sequence[str], channels: Sequence[tuple[str, int]], images: int
) -> pa.Table:
    """Find the images of some classes with the highest activations of some channels.

    It is activation, not relevance: what activates a channel in an image need not be what the image shows of its class.

    Parameters
    ----------
    features : iterable of xarray.Dataset
        The features of all shards, in their order. They are read once, and only chunks with images of these classes.
    classes : sequence of str
        Ids of the classes.
    channels : sequence of (str, int)
        The layer of each channel, and its index in the layer.
    images : int
        Number of images for each class and channel.

    Returns
    -------
    pyarrow.Table
        One row a (`class_id`, `layer`, `layer_channel`, `rank`), in the order given: `sample_id` and `activation`, the
        value of the channel in `gap`. Of equal activations the earlier image first. Fewer rows for a class of fewer
        images.
    """
    found = [_of_shard(dataset, classes, channels) for dataset in features]
    owners, ids, values = (np.concatenate(column) for column in zip(*found, strict=True))
    parts = []
    for class_id in dict.fromkeys(classes):
        own = np.flatnonzero(owners == class_id)
        best = own[largest(values[own].T, images)]  # (channel, rank)
        number = best.shape[1]
        parts.append(
            pa.table(
                {
                    "class_id": pa.array([class_id] * best.size, pa.string()),
                    "layer": pa.array([layer for layer, _ in channels for _ in range(number)], pa.string()),
                    "layer_channel": np.repeat(np.array([index for _, index in channels], np.int32), number),
                    "rank": np.tile(np.arange(1, number + 1, dtype=np.int32), len(channels)),
                    "sample_id": pa.array(ids[best.ravel()], pa.string()),
                    "activation": values[best, np.arange(len(channels))[:, np.newaxis]].ravel(),
                }
            )
        )
    return pa.concat_tables(parts)


def _of_shard(
    dataset: xarray.Dataset, classes: Sequence[str], channels: Sequence[tuple[str, int]]
) -> tuple[NDArray[np.object_], NDArray[np.object_], NDArray[np.float32]]:
    """Class ids, sample ids and activations of the usable images of some classes in a shard."""
    owners = load(dataset, "class_id").astype(object)
    rows = np.flatnonzero(np.isin(owners, list(classes)))
    pairs = zip(load(dataset, "layer").tolist(), load(dataset, "layer_channel").tolist(), strict=True)
    position = {pair: i for i, pair in enumerate(pairs)}
    columns = [position[channel] for channel in channels]
    length = dataset["gap"].encoding["chunks"][0]
    values = np.empty((len(rows), len(channels)), np.float32)
    for chunk in np.unique(rows // length):
        inside = rows // length == chunk
        block = load(dataset, "gap", sample=slice(chunk * length, (chunk + 1) * length))
        values[inside] = block[rows[inside] - chunk * length][:, columns]
    usable = ~np.isnan(values).any(axis=1)  # the row of a rejected image is empty
    rows = rows[usable]
    return owners[rows], load(dataset, "sample_id").astype(object)[rows], values[usable]
