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

__all__ = ["feature_chunks"]

_AHEAD = 2  # chunks to read ahead


def feature_chunks(
    dataset: xarray.Dataset, names: Sequence[str]
) -> Iterator[tuple[slice, dict[str, NDArray[np.floating]]]]:
    """Chunks of rows of some variables, read ahead in threads.

    Parameters
    ----------
    dataset : xarray.Dataset
        A shard's features.
    names : sequence of str
        Keys of `labelsim.methods.VARIABLES`.

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

    parts = list(blocks(size, chunk))
    with ThreadPoolExecutor(_AHEAD) as readers:
        following = deque(readers.submit(read, part) for part in parts[:_AHEAD])
        for i, part in enumerate(parts):
            values = following.popleft().result()
            if i + _AHEAD < len(parts):
                following.append(readers.submit(read, parts[i + _AHEAD]))
            yield part, values
