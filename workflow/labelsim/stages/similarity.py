"""similarity: the matrices between classes, by method and layer group."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from labelsim.analysis.matrices import matrices
from labelsim.methods import METHODS
from labelsim.network.layer_groups import check_methods, layer_groups
from labelsim.storage.moment_store import class_labels
from labelsim.storage.zarr_store import Array, Writer, blocks, load, open_store

if TYPE_CHECKING:
    import xarray

__all__ = ["similarities"]

logger = logging.getLogger(__name__)

_ROWS = 1024  # classes in a chunk
_VALUES = 2**26  # similarities at a time: 512 MiB, a whole matrix of up to 8,192 classes


def similarities(
    stores: Mapping[str, Path], methods: Sequence[str], globs: Mapping[str, Sequence[str]], output: Path
) -> None:
    """Write the similarity matrices.

    Parameters
    ----------
    stores : mapping of str to Path
        `moments`, as the stage `merge` wrote it, and the stores of the other stages that the methods need.
    methods : sequence of str
        Of `labelsim.methods.METHODS`.
    globs : mapping of str to sequence of str
        The configuration's `similarity.layer_groups`.
    output : Path
        The Zarr store to write: float32 matrices, (group, class, neighbor) for methods with layer groups,
        (class, neighbor) for others. The first group is `all`.

    Raises
    ------
    LabelsimError
        If a glob of a layer group matches no layer, or a method needs layers and there are none.
    """
    datasets = {name: open_store(path) for name, path in stores.items()}
    moments = datasets["moments"]
    classes = moments.sizes["class"]
    layers = load(moments, "layer").astype(object)
    check_methods(methods, layers.tolist())
    chosen = layer_groups(list(dict.fromkeys(layers.tolist())), globs)
    groups = np.array([np.isin(layers, members) for members in chosen.values()])
    source = datasets.get("welch", moments)
    writer = Writer(output, _arrays(methods, len(groups), classes), identity=source.attrs["digest"])
    for name in methods:
        _put(writer, name, groups, datasets, classes)
    labels = class_labels(moments)
    for name, values in labels.items():
        writer.put_whole(name, values)
        writer.put_whole(name.replace("class", "neighbor"), values)
    writer.put_whole("group_name", np.array(list(chosen), dtype=object))
    left_out = {}
    if "welch" in datasets:
        usable = load(datasets["welch"], "usable")
        left_out = {group: int((part & ~usable).sum()) for group, part in zip(chosen, groups, strict=True)}
    sets = datasets["conformal"].attrs["sets"] if "conformal" in datasets else None
    writer.commit({"excluded_channels": left_out, "conformal": sets})
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


def _put(
    writer: Writer, method: str, groups: NDArray[np.bool_], stores: Mapping[str, xarray.Dataset], classes: int
) -> None:
    """Compute and write the matrices of a method, some groups and some rows at a time."""
    by_layer = METHODS[method].by_layer
    for some in blocks(len(groups) if by_layer else 1, max(1, _VALUES // max(1, classes * _ROWS))):
        size = max(1, _VALUES // max(1, classes * (some.stop - some.start)) // _ROWS) * _ROWS  # whole chunks
        chunk = 0
        for part in matrices(stores, method, groups[some], size):
            for rows in blocks(part.shape[1], _ROWS):
                for g, matrix in enumerate(part[:, rows].astype(np.float32), start=some.start):
                    if by_layer:
                        writer.put(method, (g, chunk, 0), matrix[np.newaxis])
                    else:
                        writer.put(method, (chunk, 0), matrix)
                chunk += 1
