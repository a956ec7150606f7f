"""neighbors: the top-k table, the table of classes, and the summary of the run."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from labelsim.methods import METHODS
from labelsim.network.outputs import feature_parts
from labelsim.report.accuracy import Verdict, percent, verdict
from labelsim.report.underflow import underflow_warning
from labelsim.statistics.accuracy import Accuracy, accuracy
from labelsim.statistics.neighbors import top_k
from labelsim.storage.json_files import read_document, write_document
from labelsim.storage.parquet import table_metadata, write_table
from labelsim.storage.zarr_store import blocks, load, open_store

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
    summary: Path,
) -> None:
    """Write `neighbors.parquet`, `classes.parquet` and `summary.json`.

    Parameters
    ----------
    similarity, moments, network : Path
        As the stages of these names (`merge` for the moments) wrote them.
    config : mapping
        The whole configuration: `neighbors.k`, and metadata for the tables.
    version : str
        Of labelsim.
    neighbors, classes : Path
        The Parquet tables to write.
    summary : Path
        The JSON file to write: the run at a glance, with accuracies as fractions.
    """
    matrices, moment_data = open_store(similarity), open_store(moments)
    ids, names = (load(matrices, name).astype(object) for name in ("class_id", "class_name"))
    parts: list[pa.Table] = []
    undirected = {method: np.zeros(len(ids), dtype=bool) for method in config["similarity"]["methods"]}
    for method, group, first, block in _rows(matrices):
        parts.append(_part(method, group, first, block, ids, names, config["neighbors"]["k"]))
        if group == "all":
            undirected[method][first : first + len(block)] = np.isnan(np.diagonal(block, first))
    description = read_document(network)
    metadata = {
        **table_metadata(config, description, moment_data.attrs, version),
        "similarity": config["similarity"],
        "excluded_channels": matrices.attrs["excluded_channels"],
    }
    table = pa.concat_tables(parts).sort_by([(key, "ascending") for key in _ORDER])
    write_table(table, neighbors, metadata)
    write_table(_classes(undirected, moment_data, ids, names), classes, metadata)
    logger.info("%s rows in %s", f"{len(table):,}", neighbors)
    k, others = config["neighbors"]["k"], int(load(moment_data, "count").any(axis=0).sum()) - 1
    if 2 * k > others > 1:
        logger.warning(
            "neighbors.k is %d, but a class has only %d others: any two lists of neighbors share %.0f %% by chance. "
            "Choose a smaller k to compare methods or replicates.",
            *(k, others, 100 * min(1.0, k / others)),
        )
    contents = _summary(matrices, moment_data, description, config, ids)
    write_document(summary, {**{key: metadata[key] for key in _MADE_FROM}, **contents})


_ORDER = ("method", "group", "class_index", "rank")
_MADE_FROM = ("labelsim", "weights_digest", "dataset_digest", "computed_by")


def _summary(
    matrices: xarray.Dataset,
    moments: xarray.Dataset,
    network: Mapping[str, Any],
    config: Mapping[str, Any],
    ids: NDArray[np.object_],
) -> dict[str, Any]:
    """The run at a glance, as JSON values; the accuracy and warnings are also logged."""
    used, right, rejected = _counts(moments)
    found = accuracy(used, **right)
    dtype, counts = config["store"]["dtype"], moments.attrs["underflow"]
    lost = underflow_warning(counts, feature_parts(network), int(used.sum()), dtype)
    known = network["information"]
    published = None if known["published_top1"] is None else round(known["published_top1"] / 100, 6)  # of per cent
    images = dict(zip(ids.tolist(), (used + rejected).tolist(), strict=True))
    judged = verdict(found, images, known["labels"], network["outputs"], published)
    _log_accuracy(found, published, judged)
    if lost is not None:
        logger.warning("%s", lost)
    return {
        "model": config["model"]["name"],
        "weights": config["model"]["weights"],
        "images": {"used": int(used.sum()), "rejected": int(rejected.sum())},
        "classes": len(ids),
        "classes_without_images": int((used == 0).sum()),
        "layers": len(network["layers"]),
        "channels": moments.sizes["channel"],
        "excluded_channels": matrices.attrs["excluded_channels"],
        "conformal": matrices.attrs["conformal"],
        "methods": config["similarity"]["methods"],
        "groups": load(matrices, "group_name").tolist(),
        "neighbors": config["neighbors"]["k"],
        "accuracy": {
            **found._asdict(),
            **({} if found.images else {"top1": None, "top5": None}),  # JSON has no NaN
            "published_top1": published,
            "note": judged.note,
        },
        "underflow": counts,
        "warning": "\n".join(filter(None, [judged.warning, lost])) or None,
    }


def _counts(moments: xarray.Dataset) -> tuple[NDArray[np.int64], dict[str, NDArray[np.int64]], NDArray[np.int64]]:
    """Used, correct and rejected images of each class."""
    right = {name: load(moments, name) for name in ("top1", "top5")}
    return load(moments, "count").sum(axis=0), right, load(moments, "rejected")


def _log_accuracy(found: Accuracy, published: float | None, judged: Verdict) -> None:
    if found.images:
        logger.info(
            "top-1 %s, top-5 %s of %s images%s; %s",
            percent(found.top1),
            percent(found.top5),
            f"{found.images:,}",
            "" if published is None else f" (published: {percent(published)})",
            judged.note,
        )
    else:
        logger.info("top-1 %s", judged.note)
    if judged.warning is not None:
        logger.warning("%s", judged.warning)


def _rows(dataset: xarray.Dataset) -> Iterator[tuple[str, str, int, NDArray[np.float32]]]:
    """Method, group, index of the first row, and rows of every matrix, a chunk at a time."""
    groups = load(dataset, "group_name").tolist()
    for method in METHODS:
        if method not in dataset:
            continue
        by_group = METHODS[method].by_layer
        for g, group in enumerate(groups if by_group else ["all"]):
            where = {"group": slice(g, g + 1)} if by_group else {}
            for rows in blocks(dataset.sizes["class"], dataset[method].encoding["chunks"][-2]):
                block = load(dataset, method, **where, **{"class": rows})
                yield method, group, rows.start, block[0] if by_group else block


def _part(
    method: str,
    group: str,
    first: int,
    block: NDArray[np.float32],
    ids: NDArray[np.object_],
    names: NDArray[np.object_],
    k: int,
) -> pa.Table:
    found = top_k(block, k, first)
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
    undirected: Mapping[str, NDArray[np.bool_]],
    moments: xarray.Dataset,
    ids: NDArray[np.object_],
    names: NDArray[np.object_],
) -> pa.Table:
    used, right, rejected = _counts(moments)
    accuracies = {}
    for name, counts in right.items():
        known = (counts >= 0) & (used > 0)
        accuracies[name] = pa.array(counts / np.maximum(used, 1), pa.float64(), mask=~known)
    output = load(moments, "output_index")
    notes = [
        _note(int(used[i]), bool(output[i] >= 0), [method for method, missing in undirected.items() if missing[i]])
        for i in range(len(ids))
    ]
    return pa.table(
        {
            "class_index": np.arange(len(ids), dtype=np.int32),
            "class_id": pa.array(ids, pa.string()),
            "class_name": pa.array(names, pa.string()),
            "used": used,
            "rejected": rejected,
            **accuracies,
            "notes": pa.array(notes, pa.string()),
        }
    )


def _note(used: int, has_output: bool, left_out: list[str]) -> str:
    """Why a class is missing from some matrices; empty if it is in all of them."""
    if left_out and used == 0:
        return "no usable image: in no matrix"
    reasons: dict[str, list[str]] = {}
    for method in left_out:
        if used == 1 and METHODS[method].needs_variance:
            reason = "one usable image, hence no variance"
        elif METHODS[method].by_output and not has_output:
            reason = "no output of the network stands for it"
        else:
            reason = "its vector is zero or undefined"
        reasons.setdefault(reason, []).append(method)
    return "; ".join(f"{reason}: not in {', '.join(methods)}" for reason, methods in reasons.items())
