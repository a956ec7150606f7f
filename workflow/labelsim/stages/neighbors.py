"""neighbors: the top-k table and the table of classes."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from labelsim.documents import read_document
from labelsim.statistics.neighbors import top_k
from labelsim.store import load, open_store
from labelsim.tables import write_table

if TYPE_CHECKING:
    import xarray

__all__ = ["neighbor_tables"]

logger = logging.getLogger(__name__)


def neighbor_tables(
    similarity: Path,
    moments: Path,
    network: Path,
    config: Mapping[str, Any],
    version: str,
    neighbors: Path,
    classes: Path,
) -> None:
    """Write `neighbors.parquet` and `classes.parquet`.

    Parameters
    ----------
    similarity, moments, network : Path
        As the stages of these names (`merge` for the moments) wrote them.
    config : mapping
        The whole configuration: `neighbors.k`, and what the tables' metadata tell of the run.
    version : str
        Of labelsim.
    neighbors, classes : Path
        The Parquet tables to write.
    """
    matrices, moment_data = open_store(similarity), open_store(moments)
    ids, names = (load(matrices, name).astype(object) for name in ("class_id", "class_name"))
    parts = [_part(*matrix, ids, names, config["neighbors"]["k"]) for matrix in _matrices(matrices)]
    description = read_document(network)
    metadata = {
        "labelsim": version,
        "model": config["model"],
        "probe": config["probe"],
        "precision": config["extract"]["precision"],
        "weights_digest": description["weights_digest"],
        "dataset_digest": moment_data.attrs["dataset_digest"],
        "similarity": config["similarity"],
        "excluded_channels": matrices.attrs["excluded_channels"],
    }
    table = pa.concat_tables(parts).sort_by([(key, "ascending") for key in _ORDER])
    write_table(table, neighbors, metadata)
    write_table(_classes(matrices, moment_data, ids, names), classes, metadata)
    logger.info("%s rows in %s", f"{len(table):,}", neighbors)


_ORDER = ("method", "group", "class_index", "rank")


def _matrices(dataset: xarray.Dataset) -> Iterator[tuple[str, str, NDArray[np.float32]]]:
    """Every matrix with its method and group."""
    groups = load(dataset, "group_name").tolist()
    for method in ("welch", "hidden", "gap"):
        if method not in dataset:
            continue
        if "group" not in dataset[method].dims:
            yield method, "all", load(dataset, method)
            continue
        for g, group in enumerate(groups):
            yield method, group, load(dataset, method, group=slice(g, g + 1))[0]


def _part(
    method: str,
    group: str,
    matrix: NDArray[np.float32],
    ids: NDArray[np.object_],
    names: NDArray[np.object_],
    k: int,
) -> pa.Table:
    found = top_k(matrix, k)
    rows = len(found.rank)
    return pa.table(
        {
            "method": pa.array([method] * rows, pa.string()),
            "group": pa.array([group] * rows, pa.string()),
            "class_index": found.class_index,
            "class_id": pa.array(ids[found.class_index], pa.string()),
            "class_name": pa.array(names[found.class_index], pa.string()),
            "rank": found.rank,
            "neighbor_index": found.neighbor_index,
            "neighbor_id": pa.array(ids[found.neighbor_index], pa.string()),
            "neighbor_name": pa.array(names[found.neighbor_index], pa.string()),
            "similarity": found.similarity,
        }
    )


def _classes(
    matrices: xarray.Dataset, moments: xarray.Dataset, ids: NDArray[np.object_], names: NDArray[np.object_]
) -> pa.Table:
    used = load(moments, "count").sum(axis=0)
    right = load(moments, "top1")
    known = (right >= 0) & (used > 0)
    top1 = np.where(known, right / np.maximum(used, 1), np.nan)
    undirected = {
        method: np.isnan(np.diagonal(matrix)) for method, group, matrix in _matrices(matrices) if group == "all"
    }
    notes = [
        _note(int(used[i]), [method for method, missing in undirected.items() if missing[i]]) for i in range(len(ids))
    ]
    return pa.table(
        {
            "class_index": np.arange(len(ids), dtype=np.int32),
            "class_id": pa.array(ids, pa.string()),
            "class_name": pa.array(names, pa.string()),
            "used": used,
            "rejected": load(moments, "rejected"),
            "top1": pa.array(top1, pa.float64(), mask=~known),
            "notes": pa.array(notes, pa.string()),
        }
    )


def _note(used: int, left_out: list[str]) -> str:
    """Why a class is left out of some matrices; empty if it is in all."""
    if not left_out:
        return ""
    if used == 0:
        return "no usable image: in no matrix"
    if used == 1 and left_out == ["welch"]:
        return "one usable image, hence no variance: not in welch"
    return f"its vector is zero or undefined: not in {', '.join(left_out)}"
