"""The images that stand for each class: those nearest to its mean, and those that activate its channels most."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from pyarrow import compute

from labelsim.analysis.activations import highest_activations
from labelsim.analysis.class_moments import class_means
from labelsim.statistics.largest import Largest
from labelsim.storage.feature_store import class_chunks
from labelsim.storage.moment_store import class_labels
from labelsim.storage.zarr_store import load

if TYPE_CHECKING:
    import xarray

__all__ = ["evidence_images", "typical_images"]

_CHANNELS = pa.schema(
    [("class_index", pa.int32()), ("class_id", pa.string()), ("layer", pa.string()), ("layer_channel", pa.int32())]
)


def typical_images(features: Iterable[xarray.Dataset], moments: xarray.Dataset, images: int) -> pa.Table:
    """Find the images whose hidden state is nearest to the mean of their class.

    Parameters
    ----------
    features : iterable of xarray.Dataset
        The features of all shards, in their order.
    moments : xarray.Dataset
        The merged moments of the run.
    images : int
        Number of images for each class.

    Returns
    -------
    pyarrow.Table
        One row a (`class_index`, `class_id`, `class_name`, `rank`): `sample_id` and `distance`, the Euclidean distance
        of the image's hidden state to the mean of its class. Of equal distances the earlier image first. Fewer rows for
        a class of fewer images.
    """
    names = {name: values.astype(object) for name, values in class_labels(moments).items()}
    means = np.hstack(list(class_means(moments, "hidden")))
    nearest = Largest(len(means), images, np.float64)
    for dataset in features:
        for values, rows, classes, sample_ids in class_chunks(dataset, "hidden", names["class_id"].tolist()):
            distance = np.linalg.norm(values[rows].astype(np.float64) - means[classes], axis=1)
            nearest.add(-distance, classes, sample_ids)
    class_, rank = np.nonzero(nearest.values > -np.inf)
    return pa.table(
        {
            "class_index": pa.array(class_, pa.int32()),
            **{name: pa.array(values[class_], pa.string()) for name, values in names.items()},
            "rank": pa.array(rank + 1, pa.int32()),
            "sample_id": pa.array(nearest.labels[class_, rank], pa.string()),
            "distance": np.abs(nearest.values[class_, rank]),
        }
    )


def evidence_images(
    features: Iterable[xarray.Dataset], moments: xarray.Dataset, evidence: Sequence[pa.Table], images: int
) -> pa.Table:
    """Find, for the channels that make each class similar to others, its images with the highest activations.

    Parameters
    ----------
    features : iterable of xarray.Dataset
        The features of all shards, in their order.
    moments : xarray.Dataset
        The merged moments of the run.
    evidence : sequence of pyarrow.Table
        `evidence.parquet`, or nothing. Its rows count for both their classes.
    images : int
        Number of images for each channel of a class.

    Returns
    -------
    pyarrow.Table
        One row a (`class_index`, `class_id`, `layer`, `layer_channel`, `rank`), sorted by class, and by channel in the
        order of the network: `sample_id` and `activation`, as in `highest_activations`.
    """
    sides = [
        table.select([f"{side}_index", f"{side}_id", "layer", "layer_channel"]).rename_columns(_CHANNELS.names)
        for table in evidence
        for side in ("class", "neighbor")
    ]
    found = pa.concat_tables([_CHANNELS.empty_table(), *(side.cast(_CHANNELS) for side in sides)])
    found = found.group_by(_CHANNELS.names).aggregate([])  # each once
    layer = compute.index_in(found["layer"], pa.array(dict.fromkeys(load(moments, "layer").tolist()), pa.string()))
    order = np.lexsort((found["layer_channel"], layer, found["class_index"]))
    return highest_activations(features, found.take(pa.array(order)), images)
