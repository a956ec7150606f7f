"""What calibrates conformal prediction sets: the scores of a run's own images."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from labelsim.statistics.conformal import scores
from labelsim.storage.feature_store import feature_chunks
from labelsim.storage.zarr_store import load

if TYPE_CHECKING:
    import xarray

__all__ = ["class_of_images", "image_scores", "probabilities"]


def class_of_images(shard: xarray.Dataset, moments: xarray.Dataset) -> NDArray[np.int64]:
    """Index of the class of each image of a shard.

    Parameters
    ----------
    shard, moments : xarray.Dataset
        Features of a shard, and the merged moments of the run.
    """
    # The classes' order may have changed since the shard was extracted.
    index = {id_: i for i, id_ in enumerate(load(moments, "class_id").tolist())}
    return np.array([index[id_] for id_ in load(shard, "class_id").tolist()], dtype=np.int64)


def image_scores(shard: xarray.Dataset, moments: xarray.Dataset) -> NDArray[np.float64]:
    """Nonconformity score of each image of a shard.

    Parameters
    ----------
    shard, moments : xarray.Dataset
        As in `class_of_images`.

    Returns
    -------
    (N,) float64
        NaN for images that could not be used, and for those of a class without an output.
    """
    expected = load(moments, "output_index")[class_of_images(shard, moments)]
    found = [scores(probability, expected[rows]) for rows, probability in probabilities(shard)]
    return np.concatenate(found) if found else np.empty(0)


def probabilities(shard: xarray.Dataset) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    """Softmax of the logits of a shard, some rows at a time.

    Yields
    ------
    slice
        The rows.
    (rows, output) float64
        NaN for images that could not be used.
    """
    for rows, values in feature_chunks(shard, ["logits"]):
        yield rows, softmax(values["logits"].astype(np.float64), axis=1)
