"""Stability: how much the similarities and ranks of the neighbors depend on the choice of images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import compute

from labelsim.analysis.matrices import matrices
from labelsim.methods import METHODS
from labelsim.network.layer_groups import layer_groups
from labelsim.statistics.stability import jackknife, ranks
from labelsim.storage.parquet import read_metadata
from labelsim.storage.zarr_store import load

if TYPE_CHECKING:
    import xarray

__all__ = ["class_stability", "stability"]

_VALUES = 2**25  # similarities at a time: 256 MiB
_CLASS = ["method", "group", "class_index", "class_id", "class_name"]


def stability(neighbors: pa.Table, stores: Mapping[str, xarray.Dataset]) -> pa.Table:
    """Compute the neighbors' similarities and ranks again, leaving out one fold of the images at a time.

    Parameters
    ----------
    neighbors : pyarrow.Table
        `neighbors.parquet` of a run.
    stores : mapping of str to xarray.Dataset
        Its merged moments (`moments`) and prediction sets (`conformal`, for the method of that name).

    Returns
    -------
    pyarrow.Table
        The rows of `neighbors`, with `corrected`, `stderr`, `low` and `high` as in
        `labelsim.statistics.stability.Stability` (null where they cannot be estimated), `folds` (the number of
        replicates that count), in how many of them the neighbor is among the k most similar (`folds_in_top_k`), and
        its best and worst rank there (`rank_min`, `rank_max`; null without replicates).

    Notes
    -----
    A replicate counts for a pair of classes if images of either were left out, and if it has a similarity for them.
    Ranks are those of the similarity, not of `corrected`. No replicate counts for the weights of the head.
    """
    settings = read_metadata(neighbors)["similarity"]
    moments = stores["moments"]
    layers = load(moments, "layer").astype(object)
    members = layer_groups(list(dict.fromkeys(layers.tolist())), settings["layer_groups"])
    channels = np.array([np.isin(layers, names) for names in members.values()])
    size = len(neighbors)
    estimates = {name: np.full(size, np.nan) for name in ("corrected", "stderr", "low", "high")}
    counts = {name: np.zeros(size, np.int32) for name in ("folds", "folds_in_top_k", "rank_min", "rank_max")}
    k = compute.max(neighbors["rank"]).as_py() or 0
    count = load(moments, "count")
    folds = np.flatnonzero(count.any(axis=1))
    for method in settings["methods"]:
        if METHODS[method].store == "head":
            continue  # no image has a part in it
        rows, group, own, other = _pairs(neighbors, method, list(members))
        whole, _ = _replicate(stores, method, channels, None, group, own, other)
        values, positions = np.empty((len(folds), len(rows))), np.empty((len(folds), len(rows)), np.int64)
        for i, fold in enumerate(folds.tolist()):
            values[i], positions[i] = _replicate(stores, method, channels, fold, group, own, other)
        left_out = count[folds][:, own] + count[folds][:, other] > 0
        used = left_out & np.isfinite(values)
        estimate = jackknife(whole, values, used, METHODS[method].scale)._asdict()
        for name, column in estimates.items():
            column[rows] = estimate[name]
        counts["folds"][rows] = estimate["folds"]
        counts["folds_in_top_k"][rows] = (used & (positions <= k)).sum(axis=0)
        counts["rank_min"][rows] = np.where(used, positions, len(count[0])).min(axis=0, initial=len(count[0]))
        counts["rank_max"][rows] = np.where(used, positions, 0).max(axis=0, initial=0)
    none = counts["folds"] == 0
    result = neighbors
    for name, column in estimates.items():
        result = result.append_column(name, pa.array(column, mask=np.isnan(column)))
    for name, column in counts.items():
        result = result.append_column(name, pa.array(column, mask=none if name.startswith("rank") else None))
    return result


def class_stability(stability: pa.Table) -> pa.Table:
    """Summarize the stability of the neighbors by class.

    Parameters
    ----------
    stability : pyarrow.Table
        As `stability` returns it.

    Returns
    -------
    pyarrow.Table
        One row a (method, group, class): `neighbors`, their number; `stable`, the share of them that is among the k
        most similar in every replicate (null without replicates); `reordered`, whether their order by `corrected`
        differs from their order by `similarity` (null where that is not known).
    """
    always = compute.equal(stability["folds_in_top_k"], stability["folds"])
    always = compute.if_else(compute.greater(stability["folds"], 0), always, None)
    # Sorted by rank: out of order if a neighbor's corrected similarity is above that of the one before it.
    corrected = stability["corrected"].to_numpy()
    before = np.where(stability["rank"].to_numpy() > 1, np.roll(corrected, 1), np.inf)
    above = pa.array(corrected > before, mask=np.isnan(corrected) | np.isnan(before))
    table = stability.select(_CLASS).append_column("always", always.cast(pa.float64())).append_column("above", above)
    strict = compute.ScalarAggregateOptions(skip_nulls=False)  # true if any is, else null if any is null
    found = table.group_by(_CLASS, use_threads=False).aggregate(
        [([], "count_all"), ("always", "mean"), ("above", "any", strict)]
    )
    return found.rename_columns([*_CLASS, "neighbors", "stable", "reordered"]).replace_schema_metadata(
        stability.schema.metadata
    )


def _pairs(
    neighbors: pa.Table, method: str, groups: list[str]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32], NDArray[np.int32]]:
    """Positions of a method's rows, and of each its group, class and neighbor."""
    rows = np.flatnonzero(compute.equal(neighbors["method"], method).to_numpy(zero_copy_only=False))
    part = neighbors.take(pa.array(rows))
    group = compute.index_in(part["group"], pa.array(groups)).to_numpy()
    return rows, group, part["class_index"].to_numpy(), part["neighbor_index"].to_numpy()


def _replicate(
    stores: Mapping[str, xarray.Dataset],
    method: str,
    channels: NDArray[np.bool_],
    without: int | None,
    group: NDArray[np.int64],
    own: NDArray[np.int32],
    other: NDArray[np.int32],
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Similarity and rank of each pair of classes without one fold."""
    values, positions = np.full(len(own), np.nan), np.zeros(len(own), np.int64)
    first = 0
    per_row = stores["moments"].sizes["class"] * (len(channels) if METHODS[method].by_layer else 1)
    for block in matrices(stores, method, channels, max(1, _VALUES // max(1, per_row)), without):
        for g, matrix in enumerate(block):
            inside = np.flatnonzero((group == g) & (own >= first) & (own < first + len(matrix)))
            values[inside] = matrix[own[inside] - first, other[inside]]
            # Ranks are those of the stored similarities, which are rounded.
            positions[inside] = ranks(matrix.astype(np.float32), first, own[inside], other[inside])
        first += block.shape[1]
    return values, positions
