"""similarity: cosine between classes, by method and layer group."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from labelsim.methods import METHODS, MOMENTS
from labelsim.network.layer_groups import check_methods, layer_groups
from labelsim.statistics import similarity
from labelsim.statistics.similarity import Columns
from labelsim.storage.moment_store import channel_blocks, class_labels, class_means
from labelsim.storage.zarr_store import Array, Writer, blocks, load, open_store

if TYPE_CHECKING:
    import xarray

__all__ = ["similarities"]

logger = logging.getLogger(__name__)

_ROWS = 1024  # classes in a chunk
_VALUES = 2**26  # similarities at a time: 512 MiB, a whole matrix of up to 8,192 classes


def similarities(
    moments: Path,
    welch: Path | None,
    methods: Sequence[str],
    globs: Mapping[str, Sequence[str]],
    output: Path,
) -> None:
    """Write the similarity matrices.

    Parameters
    ----------
    moments, welch : Path
        As the stages `merge` and `welch` wrote them; `welch` is only needed for the method of that name.
    methods : sequence of str
        Of `labelsim.methods.METHODS`.
    globs : mapping of str to sequence of str
        The configuration's `similarity.layer_groups`.
    output : Path
        The Zarr store to write: float32 matrices, (group, class, neighbor) for methods that compare channels,
        (class, neighbor) for others. The first group is `all`.

    Raises
    ------
    LabelsimError
        If a glob of a layer group matches no layer, or a method needs layers and there are none.
    """
    moment_data = open_store(moments)
    welch_data = open_store(welch) if welch is not None else None
    classes = moment_data.sizes["class"]
    layers = load(moment_data, "layer").astype(object)
    check_methods(methods, layers.tolist())
    chosen = layer_groups(list(dict.fromkeys(layers.tolist())), globs)
    groups = np.array([np.isin(layers, members) for members in chosen.values()])
    source = moment_data if welch_data is None else welch_data
    writer = Writer(output, _arrays(methods, len(groups), classes), identity=source.attrs["digest"])
    left_out = {}
    for name in methods:
        method = METHODS[name]
        used = groups if method.by_layer else np.ones((1, moment_data.sizes[MOMENTS[method.variable]]), dtype=bool)
        if method.store == "welch":
            assert welch_data is not None
            usable = load(welch_data, "usable")
            left_out = {group: int((part & ~usable).sum()) for group, part in zip(chosen, groups, strict=True)}
            _put(writer, name, used & usable, partial(_t, welch_data), classes)
        else:
            _put(writer, name, used, partial(class_means, moment_data, method.variable), classes)
    labels = class_labels(moment_data)
    for name, values in labels.items():
        writer.put_whole(name, values)
        writer.put_whole(name.replace("class", "neighbor"), values)
    writer.put_whole("group_name", np.array(list(chosen), dtype=object))
    writer.commit({"excluded_channels": left_out})
    for name, channels in zip(chosen, groups, strict=True):
        excluded = f", {left_out[name]} of them left out of welch" if name in left_out else ""
        logger.info("Group %s: %s channels%s", name, f"{channels.sum():,}", excluded)


def _arrays(methods: Sequence[str], groups: int, classes: int) -> dict[str, Array]:
    rows = min(classes, _ROWS)
    found = {}
    for method in methods:
        matrix = Array(("class", "neighbor"), (classes, classes), "float32", (rows, classes))
        by_group = Array(("group", *matrix.dims), (groups, *matrix.shape), "float32", (1, rows, classes))
        found[method] = by_group if METHODS[method].by_layer else matrix
    for dimension in ("class", "neighbor"):
        for label in ("id", "name"):
            found[f"{dimension}_{label}"] = Array((dimension,), (classes,), "str", coordinate=True)
    found["group_name"] = Array(("group",), (groups,), "str", coordinate=True)
    return found


def _put(writer: Writer, method: str, groups: NDArray[np.bool_], columns: Columns, classes: int) -> None:
    """Compute and write the matrices of a method, some groups and some rows at a time."""
    compare = getattr(similarity, METHODS[method].function)
    for some in blocks(len(groups), max(1, _VALUES // max(1, classes * _ROWS))):
        size = max(1, _VALUES // max(1, classes * (some.stop - some.start)) // _ROWS) * _ROWS  # whole chunks
        chunk = 0
        for part in compare(columns, classes, groups[some], size):
            for rows in blocks(part.shape[1], _ROWS):
                for g, matrix in enumerate(part[:, rows].astype(np.float32), start=some.start):
                    if METHODS[method].by_layer:
                        writer.put(method, (g, chunk, 0), matrix[np.newaxis])
                    else:
                        writer.put(method, (chunk, 0), matrix)
                chunk += 1


def _t(dataset: xarray.Dataset) -> Iterator[NDArray[np.float64]]:
    """Welch's t of all classes, a block of channels at a time."""
    return (load(dataset, "t", channel=part) for part in channel_blocks(dataset.sizes["channel"]))
