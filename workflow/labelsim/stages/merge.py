"""merge: moments of the classes, from those of the shards."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from labelsim.dataset.classes import read_classes
from labelsim.errors import LabelsimError
from labelsim.methods import MOMENTS
from labelsim.statistics.moments import Moments, empty, merge
from labelsim.statistics.underflow import total
from labelsim.storage.digests import canonical
from labelsim.storage.json_files import read_document
from labelsim.storage.moment_store import CLASSES_PER_CHUNK, TOP, arrays, load_moments, merged_identity, put_moments
from labelsim.storage.parquet import read_table
from labelsim.storage.zarr_store import Array, Writer, blocks, load, open_store

if TYPE_CHECKING:
    import xarray

__all__ = ["merge_shards"]

logger = logging.getLogger(__name__)

_FEW = 10  # unusable images: no run ends because of them, and they are named


def merge_shards(
    shards: Sequence[Path], rejects: Sequence[Path], index: Path, max_reject_fraction: float, output: Path
) -> None:
    """Write the moments of all classes, by fold.

    Parameters
    ----------
    shards : sequence of Path
        The shards' stores of moments, in the order of the manifest, which is also the order of merging.
    rejects : sequence of Path
        The shards' tables of images that could not be used.
    index : Path
        As the stage `shard` wrote it.
    max_reject_fraction : float
        More unusable images are an error, which is raised after the store is written. Up to ten are none, unless this
        is 0 or no image is left.
    output : Path
        The Zarr store to write: like the shards', but for all classes, and with `class_name` and `rejected`, the number
        of unusable images of each class.

    Raises
    ------
    LabelsimError
        If too many images could not be used, or a shard's store is damaged.
    """
    contents = read_document(index)
    ids, names = read_classes(index.parent)
    position = {id_: i for i, id_ in enumerate(ids)}
    datasets = [open_store(path) for path in shards]
    members = [np.array([position[id_] for id_ in load(dataset, "class_id")]) for dataset in datasets]
    first = datasets[0]
    folds = first.sizes["fold"]
    widths = {name: first.sizes[dimension] for name, dimension in MOMENTS.items()}
    identity = merged_identity(contents["digest"], [dataset.attrs["digest"] for dataset in datasets])
    writer = Writer(output, _arrays(folds, len(ids), widths), identity)
    count = np.zeros((folds, len(ids)), dtype=np.int64)
    for block in blocks(len(ids), CLASSES_PER_CHUNK):
        for name in widths:
            moments = _merge_block(datasets, members, name, block)
            put_moments(writer, name, block.start, moments)
        count[:, block] = moments.count
    writer.put_whole("count", count)
    for name in TOP:
        writer.put_whole(name, _sum_hits(datasets, members, name, len(ids)))
    outputs = np.full(len(ids), -1, dtype=np.int64)
    for dataset, member in zip(datasets, members, strict=True):
        outputs[member] = load(dataset, "output_index")
    writer.put_whole("output_index", outputs)
    tables = [read_table(path) for path in rejects]
    by_class = Counter(id_ for table in tables for id_ in table["class_id"].to_pylist())
    writer.put_whole("rejected", np.array([by_class[id_] for id_ in ids], dtype=np.int64))
    writer.put_whole("class_id", np.array(ids, dtype=object))
    writer.put_whole("class_name", np.array(names, dtype=object))
    for name in ("layer", "layer_channel"):
        writer.put_whole(name, load(first, name))
    lost = total(dataset.attrs["underflow"] for dataset in datasets)
    computed_by = list(map(json.loads, sorted({canonical(v) for data in datasets for v in data.attrs["computed_by"]})))
    writer.commit({"dataset_digest": contents["digest"], "underflow": lost, "computed_by": computed_by})
    logger.info(
        "%s images of %s classes (%s without a usable image); %s images could not be used",
        f"{count.sum():,}",
        f"{len(ids):,}",
        f"{(count.sum(axis=0) == 0).sum():,}",
        f"{by_class.total():,}",
    )
    found = [row for table in tables for row in table.select(["sample_id", "reason"]).to_pylist()]
    _check_rejects(found, contents["images"], max_reject_fraction, rejects)


def _arrays(folds: int, classes: int, widths: Mapping[str, int]) -> dict[str, Array]:
    return arrays(folds, classes, widths) | {
        "rejected": Array(("class",), (classes,), "int64"),
        "class_name": Array(("class",), (classes,), "str", coordinate=True),
    }


def _merge_block(datasets: Sequence[xarray.Dataset], members: Sequence[Any], name: str, block: slice) -> Moments:
    """Moments of a block of classes over all shards that hold some of them."""
    result = empty((datasets[0].sizes["fold"], block.stop - block.start), datasets[0].sizes[MOMENTS[name]])
    for dataset, member in zip(datasets, members, strict=True):
        (inside,) = np.nonzero((member >= block.start) & (member < block.stop))
        if not len(inside):
            continue
        # They are adjacent in the shard, unless the order of classes has changed since it was extracted.
        part = load_moments(dataset, name, **{"class": slice(inside[0], inside[-1] + 1)})
        at = (slice(None), member[inside] - block.start)
        result.put(at, merge(result.at(at), part.at((slice(None), inside - inside[0]))))
    return result


def _sum_hits(datasets: Sequence[xarray.Dataset], members: Sequence[Any], name: str, classes: int) -> Any:
    """Correct images by class; -1 for a class without an output."""
    total = np.full(classes, -1, dtype=np.int64)
    for dataset, member in zip(datasets, members, strict=True):
        hits = load(dataset, name)
        known = hits >= 0
        total[member[known]] = np.maximum(total[member[known]], 0) + hits[known]
    return total


def _check_rejects(found: Sequence[Mapping[str, str]], images: int, limit: float, tables: Sequence[Path]) -> None:
    """Name the unusable images if they are few; an error if they are too many."""
    rejected = len(found)
    if rejected <= _FEW:
        heading, lines = "Images:", [f"{row['sample_id']}: {row['reason']}" for row in found]
    else:
        reasons = Counter(row["reason"] for row in found).most_common(5)
        heading, lines = "Most frequent reasons:", [f"{number:,}: {reason}" for reason, number in reasons]
    listed = "\n".join(f"  {line}" for line in lines)
    if rejected <= limit * images or (rejected <= _FEW and rejected < images and limit > 0):
        if found:
            logger.warning("Images that could not be used: %s. %s\n%s", f"{rejected:,}", heading, listed)
        return
    raise LabelsimError(
        f"{rejected:,} of {images:,} images ({rejected / images:.1%}) could not be used; "
        f"extract.max_reject_fraction allows {limit:.1%}. {heading}\n{listed}\n"
        f"All are listed in {tables[0].parent}/*.rejects.parquet (read them with labelsim.open_run(…).rejects()). "
        "Fix the images and run with --forcerun scan extract, or raise the limit."
    )
