"""The tables of a run as the pieces of data that the explorer page looks up.

A piece is JSON or bytes, and has a name. Those of which only a few classes are shown at a time are cut into blocks of
`BLOCK` classes: `neighbors/3` has the neighbors of the classes 300 to 399.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import compute

from labelsim.analysis.stored import Matrix
from labelsim.storage.zarr_store import blocks

__all__ = [
    "BLOCK",
    "DIGITS",
    "class_piece",
    "map_piece",
    "matrix_piece",
    "of_all_layers",
    "pair_pieces",
    "quantized",
    "tree_piece",
]

BLOCK = 100  # classes
DIGITS = 6  # significant digits of float64; float32 keeps all
CHANNELS = 10  # at most, in which a class differs from the others
FEWER = 4  # of contributions and values of channels: most of the numbers, and shown with fewer
MISSING = 255  # in a quantized matrix

# The columns of the page's tables, by piece, with what they are called in the Parquet tables.
_NEIGHBORS = {
    "class": "class_index",
    "rank": "rank",
    "neighbor": "neighbor_index",
    "similarity": "similarity",
} | {name: name for name in ("corrected", "stderr", "low", "high", "folds", "folds_in_top_k", "rank_min", "rank_max")}
_EVIDENCE = {
    "class": "class_index",
    "neighbor": "neighbor_index",
    "channel": "layer_channel",
    "contribution": "contribution",
    "own": "class_value",
    "other": "neighbor_value",
}
_CHANNELS = {"class": "class_index", "channel": "layer_channel"} | {
    name: name for name in ("t", "log10_q", "mean", "mean_rest", "effect_size")
}
_IMAGES = {"class": "class_index", "channel": "layer_channel", "rank": "rank", "thumbnail": "thumbnail"}
_PAIRS = {"class": "class_index", "neighbor": "neighbor_index", "ancestor": "ancestor", "wup": "wup"}
# Tables, with their columns, those that hold names of something that is numbered in the page, and significant digits.
_TABLES: tuple[tuple[str, dict[str, str], tuple[str, ...], int], ...] = (
    ("neighbors", _NEIGHBORS, ("method", "group"), DIGITS),
    ("evidence", _EVIDENCE, ("method", "layer"), FEWER),
    ("channels", _CHANNELS, ("layer",), FEWER),
    ("wordnet_pairs", _PAIRS, (), DIGITS),
    ("evidence_images", _IMAGES, ("layer",), DIGITS),
)


def class_piece(
    classes: pa.Table, wordnet: pa.Table | None, stable: pa.Table | None, thumbnails: Sequence[int]
) -> bytes:
    """What the page knows of all classes from the start, as JSON.

    Parameters
    ----------
    classes : pyarrow.Table
        `classes.parquet`.
    wordnet, stable : pyarrow.Table or None
        `analysis/wordnet.parquet` and `analysis/class_stability.parquet`, where they exist.
    thumbnails : sequence of int
        Number of thumbnails of each class.
    """
    columns = ("class_id", "class_name", "used", "rejected", "top1", "top5", "notes")
    found: dict[str, Any] = {name: _values(classes[name]) for name in columns}
    found["thumbnails"] = list(thumbnails)
    if wordnet is not None:
        place = wordnet["class_index"].to_pylist()
        for name in ("synonyms", "branch"):
            found[name] = [None] * len(classes)
            for index, value in zip(place, wordnet[name].to_pylist(), strict=True):
                found[name][index] = value
    if stable is not None:
        of_all = stable.filter(compute.equal(stable["group"], "all"))
        shares: dict[str, list[float | None]] = {name: [None] * len(classes) for name in _distinct(of_all["method"])}
        rows = zip(*(of_all[name].to_pylist() for name in ("method", "class_index", "stable")), strict=True)
        for method, index, share in rows:
            shares[method][index] = share
        found["stable"] = shares
    return _json(found)


def pair_pieces(
    tables: Mapping[str, pa.Table], methods: Sequence[str], groups: Sequence[str], layers: Sequence[str], classes: int
) -> Iterator[tuple[str, bytes]]:
    """The rows of tables about classes and pairs of classes, in blocks of classes, as JSON.

    Parameters
    ----------
    tables : mapping of str to pyarrow.Table
        `neighbors` (with the columns of `stability` where they exist), and of `evidence`, `evidence_layers`,
        `channels`, `wordnet_pairs` and `evidence_images` (with the column `thumbnail`) those that exist.
    methods, groups, layers : sequence of str
        Names, which become their positions.
    classes : int
        Number of classes of the run.

    Yields
    ------
    tuple of str and bytes
        Names and contents of pieces.

    Notes
    -----
    The evidence of two classes is the same both ways. Where each is a neighbor of the other, it is there once.
    """
    numbers = {"method": methods, "group": groups, "layer": layers}
    for name, columns, kinds, digits in _TABLES:
        if name not in tables:
            continue
        table = tables[name] if "group" in kinds else of_all_layers(tables[name])
        if name == "channels":
            table = table.filter(compute.less_equal(table["rank"], CHANNELS))
        if name == "evidence":
            table = table.filter(pa.array(_once(_pairs(table, methods))))
        found = {new: _numbers(table[old], digits) for new, old in columns.items() if old in table.column_names}
        found |= {kind: _positions(table[kind], numbers[kind]) for kind in kinds}
        yield from _blocks(name, found, table["class_index"].to_numpy(), classes)
    if "evidence_layers" in tables:
        yield from _layer_blocks(of_all_layers(tables["evidence_layers"]), methods, layers, classes)


def _blocks(
    name: str, columns: Mapping[str, pa.Array], owner: NDArray[np.integer], classes: int
) -> Iterator[tuple[str, bytes]]:
    """The rows of each block of classes; `owner` is the class of each row."""
    order = np.argsort(owner, kind="stable")
    bounds = np.searchsorted(owner[order], np.arange(0, classes + BLOCK, BLOCK))
    for block in range(len(bounds) - 1):
        rows = pa.array(order[bounds[block] : bounds[block + 1]])
        yield f"{name}/{block}", _json({key: _values(values.take(rows)) for key, values in columns.items()})


def _layer_blocks(
    table: pa.Table, methods: Sequence[str], layers: Sequence[str], classes: int
) -> Iterator[tuple[str, bytes]]:
    """A row for each pair, with a list of the contributions of all layers; null for layers without any."""
    rows, place = np.unique(_pairs(table, methods), axis=1, return_inverse=True)
    values = np.full((rows.shape[1], len(layers)), np.nan)
    values[place.ravel(), np.asarray(_positions(table["layer"], layers))] = table["contribution"].to_numpy()
    once = _once(rows)
    rows, values = rows[:, once], values[once]
    contributions = _numbers(pa.chunked_array([values.ravel()]), FEWER)
    columns = {name: pa.array(row) for name, row in zip(("class", "neighbor", "method"), rows, strict=True)}
    columns["contributions"] = pa.FixedSizeListArray.from_arrays(contributions, max(1, len(layers)))
    yield from _blocks("evidence_layers", columns, rows[0], classes)


def _pairs(table: pa.Table, methods: Sequence[str]) -> NDArray[np.int32]:
    """Class, neighbor and method of each row, (3, row)."""
    columns = (table["class_index"], table["neighbor_index"], _positions(table["method"], methods))
    return np.stack([np.asarray(column) for column in columns])


def _once(pairs: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Where each of two classes is a neighbor of the other, only the rows of the one with the smaller index."""
    own, other, method = pairs.astype(np.int64)
    number = 1 + pairs.max(initial=0)
    return (own < other) | ~np.isin((method * number + other) * number + own, (method * number + own) * number + other)


def map_piece(positions: pa.Table, classes: int) -> bytes:
    """Coordinates of all classes by method, as JSON; null for classes that are not in the map."""
    found: dict[str, dict[str, list[Any]]] = {}
    for method in _distinct(positions["method"]):
        part = positions.filter(compute.equal(positions["method"], method))
        index = part["class_index"].to_numpy()
        found[method] = {}
        for axis in ("x", "y"):
            values = np.full(classes, np.nan)
            values[index] = part[axis].to_numpy()
            found[method][axis] = _values(_numbers(pa.chunked_array([values])))
    return _json(found)


def tree_piece(positions: pa.Table, tree: pa.Table, method: str) -> bytes:
    """The classes in the order of the clustering of a method, and the merges of its tree, as JSON."""
    own = positions.filter(compute.equal(positions["method"], method)).sort_by("position")
    merges = tree.filter(compute.equal(tree["method"], method)).sort_by("step")
    return _json(
        {
            "order": _values(own["class_index"]),
            **{name: _values(_numbers(merges[name])) for name in ("left", "right", "height")},
        }
    )


def quantized(values: NDArray[np.floating], low: float, high: float) -> NDArray[np.uint8]:
    """Similarities between `low` and `high` in 255 steps; `MISSING` for NaN.

    Parameters
    ----------
    values : (N,) float
        Similarities.
    low, high : float
        The smallest and the largest of them.
    """
    steps = np.rint((values - low) / max(high - low, 1e-12) * (MISSING - 1))
    return np.where(np.isnan(steps), MISSING, steps).astype(np.uint8)


def matrix_piece(matrix: Matrix, classes: int) -> tuple[bytes, dict[str, float]]:
    """The part of a similarity matrix above the diagonal, row after row, a byte for each pair.

    Returns
    -------
    bytes
        As `quantized` returns them.
    dict of str to float
        `low` and `high`, the smallest and largest similarity, and those between which colors are told apart, the 1st
        and 99th percentile (`dark`, `bright`).
    """
    values = np.concatenate(
        [
            block[i, first + i + 1 :]
            for first, block in ((rows.start, matrix.rows(rows)) for rows in blocks(classes, 1024))
            for i in range(len(block))
        ]
    )
    if np.isnan(values).all():
        return quantized(values, 0.0, 1.0).tobytes(), dict.fromkeys(("low", "high", "dark", "bright"), 0.0)
    low, dark, bright, high = (float(value) for value in np.nanpercentile(values, [0, 1, 99, 100]))
    return quantized(values, low, high).tobytes(), {"low": low, "high": high, "dark": dark, "bright": bright}


def of_all_layers(table: pa.Table) -> pa.Table:
    """Rows of the group `all`, or the whole table if it has no groups."""
    return table.filter(compute.equal(table["group"], "all")) if "group" in table.column_names else table


def _numbers(column: pa.ChunkedArray, digits: int = DIGITS) -> pa.Array:
    """Float64 columns with so many significant digits; others as they are."""
    column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if not pa.types.is_float64(column.type):
        return column
    values = column.to_numpy(zero_copy_only=False)
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = 10.0 ** (digits - 1 - np.floor(np.log10(np.abs(values))))
        rounded = np.where((values == 0) | ~np.isfinite(scale), values, np.rint(values * scale) / scale)
    return pa.array(rounded, mask=~np.isfinite(rounded))


def _positions(column: pa.ChunkedArray, names: Sequence[str]) -> pa.Array:
    column = column.cast(pa.string()) if pa.types.is_dictionary(column.type) else column
    return compute.index_in(column, pa.array(names, pa.string())).combine_chunks()


def _distinct(column: pa.ChunkedArray) -> list[str]:
    return [str(name) for name in column.unique().to_pylist()]


def _values(column: pa.Array | pa.ChunkedArray) -> list[Any]:
    """Values for JSON; float32 with the digits that tell them apart."""
    if pa.types.is_float32(column.type):
        return [None if value is None else float(str(np.float32(value))) for value in column.to_pylist()]
    return column.to_pylist()


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
