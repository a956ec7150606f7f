"""The images that activate channels most."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import compute

from labelsim.statistics.largest import Largest
from labelsim.storage.feature_store import class_chunks
from labelsim.storage.zarr_store import load

if TYPE_CHECKING:
    import xarray

__all__ = ["highest_activations"]


def highest_activations(features: Iterable[xarray.Dataset], channels: pa.Table, images: int) -> pa.Table:
    """Find the images of some classes with the highest activations of some channels.

    It is activation, not relevance: what activates a channel in an image need not be what the image shows of its class.

    Parameters
    ----------
    features : iterable of xarray.Dataset
        The features of all shards, in their order. They are read once, and only chunks with images of these classes.
    channels : pyarrow.Table
        One row for each channel of a class: `class_id`, `layer` and `layer_channel` (its index in the layer). Other
        columns are kept.
    images : int
        Number of images for each row.

    Returns
    -------
    pyarrow.Table
        The rows of `channels`, each once for each image, with `rank` (1 for the highest activation), `sample_id` and
        `activation`, the value of the channel in `gap`. Of equal activations the earlier image first. Fewer rows for a
        class of fewer images.
    """
    ids = channels["class_id"].unique()
    class_ = compute.index_in(channels["class_id"], ids).to_numpy()
    by_class = np.argsort(class_, kind="stable")
    number = np.bincount(class_, minlength=len(ids))
    first = np.cumsum(number) - number
    highest = Largest(len(channels), images, np.float32)
    for dataset in features:
        position = _positions(dataset, channels)
        for values, rows, classes, sample_ids in class_chunks(dataset, "gap", ids.to_pylist()):
            # Each image once for each channel of its class.
            image = np.repeat(np.arange(len(rows)), number[classes])
            place = np.arange(len(image)) - np.searchsorted(image, image)
            channel = by_class[first[classes[image]] + place]
            highest.add(values[rows[image], position[channel]], channel, sample_ids[image])
    row, rank = np.nonzero(highest.values > -np.inf)
    found = channels.take(pa.array(row))
    found = found.append_column("rank", pa.array(rank + 1, pa.int32()))
    found = found.append_column("sample_id", pa.array(highest.labels[row, rank], pa.string()))
    return found.append_column("activation", pa.array(highest.values[row, rank]))


def _positions(dataset: xarray.Dataset, channels: pa.Table) -> NDArray[np.int64]:
    """Position of each channel in `gap`, where the channels of a layer follow one another."""
    layers, start = np.unique(load(dataset, "layer").astype(object), return_index=True)
    layer = compute.index_in(channels["layer"], pa.array(layers, pa.string())).to_numpy()
    positions: NDArray[np.int64] = start[layer] + channels["layer_channel"].to_numpy()
    return positions
