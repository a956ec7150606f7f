"""similarity: cosine between classes, by method and layer group."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from labelsim.moment_store import channel_blocks, class_labels, class_means
from labelsim.network.groups import check_methods, layer_groups
from labelsim.statistics.similarity import cosine
from labelsim.store import Array, Writer, blocks, load, open_store

if TYPE_CHECKING:
    import xarray

__all__ = ["similarities"]

logger = logging.getLogger(__name__)

_ROWS = 1024  # classes in a chunk
_VALUES = 2**26  # similarities at a time: 512 MiB; for up to 8,192 classes these are all


def similarities(
    moments: Path,
    welch: Path,
    methods: Sequence[str],
    globs: Mapping[str, Sequence[str]],
    output: Path,
) -> None:
    """Write the similarity matrices.

    Parameters
    ----------
    moments, welch : Path
        As the stages `merge` and `welch` wrote them.
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
    moment_data, welch_data = open_store(moments), open_store(welch)
    classes = moment_data.sizes["class"]
    layers = load(moment_data, "layer").astype(object)
    check_methods(methods, layers.tolist())
    chosen = layer_groups(list(dict.fromkeys(layers.tolist())), globs)
    groups = {name: np.isin(layers, members) for name, members in chosen.items()}
    writer = Writer(output, _arrays(methods, len(groups), classes), identity=welch_data.attrs["digest"])
    usable = load(welch_data, "usable")
    block = max(1, _VALUES // max(1, classes) // _ROWS) * _ROWS  # whole chunks
    for method in methods:
        if method == "hidden":
            _put(writer, method, (), cosine(partial(class_means, moment_data, "hidden"), classes, block))
            continue
        for g, channels in enumerate(groups.values()):
            if method == "welch":
                columns = partial(_t, welch_data, channels & usable)
            else:
                columns = partial(_means, moment_data, channels)
            _put(writer, method, (g,), cosine(columns, classes, block))
    labels = class_labels(moment_data)
    for name, values in labels.items():
        writer.put_whole(name, values)
        writer.put_whole(name.replace("class", "neighbor"), values)
    writer.put_whole("group_name", np.array(list(groups), dtype=object))
    left_out = {name: int((channels & ~usable).sum()) for name, channels in groups.items()}
    writer.commit({"excluded_channels": left_out})
    for name, channels in groups.items():
        logger.info("Group %s: %s channels, %s of them left out of welch", name, f"{channels.sum():,}", left_out[name])


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


def _put(writer: Writer, method: str, group: tuple[int, ...], matrix: Iterable[NDArray[np.float64]]) -> None:
    chunk = 0
    for part in matrix:
        for rows in blocks(len(part), _ROWS):
            values = part[rows].astype(np.float32)
            writer.put(method, (*group, chunk, 0), values[np.newaxis] if group else values)
            chunk += 1


def _t(dataset: xarray.Dataset, channels: NDArray[np.bool_]) -> Iterator[NDArray[np.float64]]:
    """Welch's t of the chosen channels, a block at a time."""
    for part in channel_blocks(len(channels)):
        if channels[part].any():
            yield load(dataset, "t", channel=part)[:, channels[part]]


def _means(dataset: xarray.Dataset, channels: NDArray[np.bool_]) -> Iterator[NDArray[np.float64]]:
    """Class means of the chosen channels, a block at a time."""
    for part, means in zip(channel_blocks(len(channels)), class_means(dataset, "gap"), strict=True):
        yield means[:, channels[part]]
