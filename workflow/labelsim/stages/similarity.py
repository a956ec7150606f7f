"""similarity: cosine between classes, by method and layer group."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import xarray
from numpy.typing import NDArray

from labelsim.errors import LabelsimError
from labelsim.moment_store import blocks, channel_blocks, class_labels, of_classes
from labelsim.statistics.similarity import cosine
from labelsim.store import Array, Writer, load, open_store

__all__ = ["similarities"]

logger = logging.getLogger(__name__)

_ROWS = 1024  # classes in a chunk


def similarities(
    moments: Path,
    welch: Path,
    methods: Sequence[str],
    layer_groups: Mapping[str, Sequence[str]],
    output: Path,
) -> None:
    """Write the similarity matrices.

    Parameters
    ----------
    moments, welch : Path
        As the stages `merge` and `welch` wrote them.
    methods : sequence of str
        Of welch (S), hidden (H) and gap (P).
    layer_groups : mapping of str to sequence of str
        Name of a group, and globs over layer names.
    output : Path
        The Zarr store to write: `welch` and `gap` (group, class, neighbor), `hidden` (class, neighbor),
        float32. The first group is `all`.

    Raises
    ------
    LabelsimError
        If a glob of a layer group matches no layer.
    """
    moment_data, welch_data = open_store(moments), open_store(welch)
    classes = moment_data.sizes["class"]
    groups = _groups(load(moment_data, "layer"), layer_groups)
    writer = Writer(output, _arrays(methods, len(groups), classes), identity=welch_data.attrs["digest"])
    usable = load(welch_data, "usable")
    for method in methods:
        if method == "hidden":
            _put(writer, method, (), cosine(_means(moment_data, "hidden"), classes))
            continue
        for g, channels in enumerate(groups.values()):
            columns = _t(welch_data, channels & usable) if method == "welch" else _means(moment_data, "gap", channels)
            _put(writer, method, (g,), cosine(columns, classes))
    labels = class_labels(moment_data)
    for name, values in labels.items():
        writer.put_whole(name, values)
        writer.put_whole(name.replace("class", "neighbor"), values)
    writer.put_whole("group_name", np.array(list(groups), dtype=object))
    left_out = {name: int((channels & ~usable).sum()) for name, channels in groups.items()}
    writer.commit({"excluded_channels": left_out})
    for name, channels in groups.items():
        logger.info("Group %s: %s channels, %s of them left out of welch", name, f"{channels.sum():,}", left_out[name])


def _groups(layers: NDArray[np.str_], globs: Mapping[str, Sequence[str]]) -> dict[str, NDArray[np.bool_]]:
    """Channels of each layer group; `all` first."""
    names = list(dict.fromkeys(layers.tolist()))
    groups = {"all": np.ones(len(layers), dtype=bool)}
    for group, patterns in globs.items():
        for pattern in patterns:
            if not any(fnmatchcase(name, pattern) for name in names):
                raise LabelsimError(
                    f"similarity.layer_groups.{group}: {pattern!r} matches none of the {len(names)} layers, "
                    f"such as {', '.join(names[:3])}; `labelsim layers` lists them"
                )
        chosen = {name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)}
        groups[group] = np.isin(layers.astype(object), list(chosen))
    return groups


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


def _put(writer: Writer, method: str, group: tuple[int, ...], matrix: NDArray[np.float64]) -> None:
    for i, rows in enumerate(blocks(len(matrix), _ROWS)):
        block = matrix[rows].astype(np.float32)
        writer.put(method, (*group, i, 0), block[np.newaxis] if group else block)


def _t(dataset: xarray.Dataset, channels: NDArray[np.bool_]) -> Iterator[NDArray[np.float64]]:
    """Welch's t of the chosen channels, a block at a time."""
    for part in channel_blocks(len(channels)):
        if channels[part].any():
            yield load(dataset, "t", channel=part)[:, channels[part]]


def _means(
    dataset: xarray.Dataset, name: str, channels: NDArray[np.bool_] | None = None
) -> Iterator[NDArray[np.float64]]:
    """Class means, a block of channels at a time; NaN for classes without images."""
    start = 0
    for moments in of_classes(dataset, name):
        part = slice(start, start + moments.mean.shape[1])
        start = part.stop
        chosen = slice(None) if channels is None else channels[part]
        yield np.where(moments.count[:, np.newaxis] > 0, moments.mean, np.nan)[:, chosen]
