"""moments: count, mean and squared deviations of a shard's features, by fold and class."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from labelsim.damage import damaged
from labelsim.dataset.classes import read_class_table
from labelsim.dataset.shards import folds
from labelsim.documents import read_document
from labelsim.errors import LabelsimError
from labelsim.moment_store import arrays, put_moments
from labelsim.statistics.moments import Moments, empty, merge, of_groups
from labelsim.store import Writer, load, open_store

__all__ = ["FOLDS", "moments"]

logger = logging.getLogger(__name__)

FOLDS = 8


def moments(features: Path, network: Path, class_ids: Path | None, classes: str, output: Path) -> None:
    """Write the moments of one shard, for the classes that are in it.

    Parameters
    ----------
    features : Path
        The shard's store, as `extract` wrote it.
    network : Path
        As the stage `network` wrote it.
    class_ids : Path or None
        As the stage `shard` wrote them; needed where the outputs stand for the dataset's classes.
    classes : str
        The configuration's `model.classes`.
    output : Path
        The Zarr store to write. `top1` counts the images whose largest output is that of their class;
        it is -1 for a class that no output is known to stand for.

    Raises
    ------
    LabelsimError
        If the features are damaged, or `classes` do not fit the network's outputs.
    """
    dataset = open_store(features)
    present, member = np.unique(load(dataset, "class_id").astype(object), return_inverse=True)
    fold = folds(load(dataset, "sample_id").tolist(), FOLDS)
    groups = fold.astype(np.int64) * len(present) + member
    expected = _expected(present.tolist(), classes, network, class_ids)
    widths = {name: dataset[name].shape[1] for name in ("gap", "hidden")}
    sums = {name: empty((FOLDS * len(present),), width) for name, width in widths.items()}
    right = np.zeros(len(present), dtype=np.int64)
    rows = dataset["gap"].encoding["chunks"][0]
    for start in range(0, dataset.sizes["sample"], rows):
        part = slice(start, start + rows)
        values = {name: load(dataset, name, sample=part) for name in ("gap", "hidden", "logits")}
        # The row of an image that could not be used is NaN in every array.
        used = ~np.isnan(values["hidden"]).any(axis=1)
        for name, moment in sums.items():
            _add(moment, values[name][used], groups[part][used])
        hit = np.argmax(values["logits"][used], axis=1) == expected[member[part][used]]
        right += np.bincount(member[part][used][hit], minlength=len(present))
    if (empty_rows := len(fold) - sums["gap"].count.sum()) != dataset.attrs["rejected"]:
        raise damaged(features, f"{empty_rows} of its rows are empty, but {dataset.attrs['rejected']} were rejected")
    by_fold = {name: _by_fold(moment) for name, moment in sums.items()}
    writer = Writer(output, arrays(FOLDS, len(present), widths), identity=dataset.attrs["digest"])
    writer.put_whole("count", by_fold["gap"].count)
    for name, moment in by_fold.items():
        put_moments(writer, name, 0, moment)
    writer.put_whole("top1", np.where(expected >= 0, right, -1))
    writer.put_whole("class_id", present)
    for name in ("layer", "layer_channel"):
        writer.put_whole(name, load(dataset, name))
    writer.commit({})
    logger.info("%s images of %d classes", f"{by_fold['gap'].count.sum():,}", len(present))


def _add(moments: Moments, samples: NDArray[np.floating], groups: NDArray[np.int64]) -> None:
    """Merge samples into the moments of their groups, in place."""
    present, member = np.unique(groups, return_inverse=True)
    moments.put(present, merge(moments.at(present), of_groups(samples, member, len(present))))


def _by_fold(moments: Moments) -> Moments:
    """Moments of groups numbered by fold and class as moments of (fold, class)."""
    shape = (FOLDS, len(moments.count) // FOLDS)
    width = moments.mean.shape[1]  # 0 where no layer is probed
    return Moments(moments.count.reshape(shape), moments.mean.reshape(*shape, width), moments.m2.reshape(*shape, width))


def _expected(present: Sequence[str], classes: str, network: Path, class_ids: Path | None) -> NDArray[np.int64]:
    """The output that stands for each class of the shard; -1 where none is known to."""
    description = read_document(network)
    labels = _labels(classes, description["labels"], class_ids)
    if labels is not None and len(labels) != description["outputs"]:
        raise LabelsimError(
            f"model.classes: {classes} gives {len(labels):,} classes, but the network has "
            f"{description['outputs']:,} outputs; expected one for each, in their order"
        )
    output = {label: position for position, label in enumerate(labels or ())}
    return np.array([output.get(id_, -1) for id_ in present], dtype=np.int64)


def _labels(classes: str, own: list[str] | None, class_ids: Path | None) -> list[str] | None:
    """Class id of each output of the network; None where nothing is known of them."""
    if classes == "auto":
        return own
    if class_ids is not None:
        found: list[str] = read_document(class_ids)["classes"]
        return found
    return list(read_class_table(Path(classes)))
