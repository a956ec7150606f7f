"""similarity: cosine between classes, by method and layer group."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from labelsim.network.layer_groups import check_methods, layer_groups
from labelsim.statistics.similarity import Columns, cosine
from labelsim.storage.moment_store import channel_blocks, class_labels, class_means
from labelsim.storage.zarr_store import Array, Writer, blocks, load, open_store

if TYPE_CHECKING:
    import xarray

__all__ = ["similarities"]

logger = logging.getLogger(__name__)

_ROWS = 1024  # classes in a chunk
_VALUES = 2**26  # similarities at a time: 512 MiB; for up to 8,192 classes these are all


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
        As the stages `merge` and `welch` wrote them; the second is needed for the method welch only.
    methods : sequence of str
        Of welch (S), hidden (H) and gap (P).
    globs : mapping of str to sequence of str
        The configuration's `similarity.layer_groups`.
    output : Path
        The Zarr store to write: `welch` and `gap` (group, class, neighbor), `hidden` (class, neighbor),
        float32. The first group is `all`.

    Raises
    ------
    LabelsimError
        If a glob of a layer group matches no layer, or if a method needs layers and there are none.
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
    for method in methods:
        if method == "hidden":
            every = np.ones((1, moment_data.sizes["unit"]), dtype=bool)
            _put(writer, method, every, partial(class_means, moment_data, "hidden"), classes)
        elif method == "gap":
            _put(writer, method, groups, partial(class_means, moment_data, "gap"), classes)
        else:
            assert welch_data is not None
            usable = load(welch_data, "usable")
            left_out = {name: int((channels & ~usable).sum()) for name, channels in zip(chosen, groups, strict=True)}
            _put(writer, method, groups & usable, partial(_t, welch_data), classes)
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
        if method == "hidden":
            found[method] = Array(("class", "neighbor"), (classes, classes), "float32", (rows, classes))
        else:
            found[method] = Array(
                ("group", "class", "neighbor"), (groups, classes, classes), "float32", (1, rows, classes)
            )
    for dimension in ("class", "neighbor"):
        for label in ("id", "name"):
            found[f"{dimension}_{label}"] = Array((dimension,), (classes,), "str", coordinate=True)
    found["group_name"] = Array(("group",), (groups,), "str", coordinate=True)
    return found


def _put(writer: Writer, method: str, groups: NDArray[np.bool_], columns: Columns, classes: int) -> None:
    """Compute and write the matrices of a method, some groups and some rows of them at a time."""
    for some in blocks(len(groups), max(1, _VALUES // max(1, classes * _ROWS))):
        size = max(1, _VALUES // max(1, classes * (some.stop - some.start)) // _ROWS) * _ROWS  # whole chunks
        chunk = 0
        for part in cosine(columns, classes, groups[some], size):
            for rows in blocks(part.shape[1], _ROWS):
                for g, matrix in enumerate(part[:, rows].astype(np.float32), start=some.start):
                    if method == "hidden":
                        writer.put(method, (chunk, 0), matrix)
                    else:
                        writer.put(method, (g, chunk, 0), matrix[np.newaxis])
                chunk += 1


def _t(dataset: xarray.Dataset) -> Iterator[NDArray[np.float64]]:
    """Welch's t of all classes, a block of channels at a time."""
    return (load(dataset, "t", channel=part) for part in channel_blocks(dataset.sizes["channel"]))
