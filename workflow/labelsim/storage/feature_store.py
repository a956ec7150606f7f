"""Read a shard's features."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from labelsim.storage.zarr_store import blocks, load

if TYPE_CHECKING:
    import xarray

__all__ = ["class_chunks", "feature_chunks"]

_AHEAD = 2  # chunks to read ahead


def feature_chunks(
    dataset: xarray.Dataset, names: Sequence[str], needed: NDArray[np.bool_] | None = None
) -> Iterator[tuple[slice, dict[str, NDArray[np.floating]]]]:
    """Chunks of rows of some variables, read ahead in threads.

    Parameters
    ----------
    dataset : xarray.Dataset
        A shard's features.
    names : sequence of str
        Keys of `labelsim.methods.VARIABLES`.
    needed : (sample,) bool, optional
        Rows of which at least one must be in a chunk for it to be read; by default all chunks are.

    Yields
    ------
    slice
        The rows.
    dict of str to (sample, dimension) array
        Their values; NaN for images that could not be used.
    """
    size, chunk = dataset.sizes["sample"], dataset["gap"].encoding["chunks"][0]

    def read(part: slice) -> dict[str, NDArray[np.floating]]:
        return {name: load(dataset, name, sample=part) for name in names}

    parts = [part for part in blocks(size, chunk) if needed is None or needed[part].any()]
    with ThreadPoolExecutor(_AHEAD) as readers:
        following = deque(readers.submit(read, part) for part in parts[:_AHEAD])
        for i, part in enumerate(parts):
            values = following.popleft().result()
            if i + _AHEAD < len(parts):
                following.append(readers.submit(read, parts[i + _AHEAD]))
            yield part, values


def class_chunks(
    dataset: xarray.Dataset, name: str, class_ids: Sequence[str]
) -> Iterator[tuple[NDArray[np.floating], NDArray[np.int64], NDArray[np.int64], NDArray[np.object_]]]:
    """Chunks of rows of a variable which hold images of some classes.

    Parameters
    ----------
    dataset : xarray.Dataset
        A shard's features.
    name : str
        A key of `labelsim.methods.VARIABLES`.
    class_ids : sequence of str
        The classes.

    Yields
    ------
    values : (sample, dimension) array
        Of all images of the chunk; NaN for images that could not be used.
    rows : (N,) int64
        Rows of `values` for images of these classes.
    classes : (N,) int64
        Position of their classes in `class_ids`.
    sample_ids : (N,) object
        Their ids.
    """
    # Not the stored class_index: the classes' order may have changed since the shard was extracted.
    position = {id_: i for i, id_ in enumerate(class_ids)}
    classes = np.array([position.get(id_, -1) for id_ in load(dataset, "class_id").tolist()], dtype=np.int64)
    sample_ids = load(dataset, "sample_id").astype(object)
    for part, values in feature_chunks(dataset, [name], classes >= 0):
        rows = np.flatnonzero(classes[part] >= 0)
        yield values[name], rows, classes[part][rows], sample_ids[part][rows]
