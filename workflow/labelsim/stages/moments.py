"""moments: count, mean and squared deviations of a shard's features, by fold and class."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from labelsim.dataset.classes import read_classes
from labelsim.dataset.sampling import folds
from labelsim.methods import MOMENTS, VARIABLES
from labelsim.network.outputs import output_labels
from labelsim.statistics.accuracy import ranks
from labelsim.statistics.group_moments import of_groups
from labelsim.statistics.moments import Moments, empty, merge
from labelsim.storage.damage import damaged
from labelsim.storage.feature_store import feature_chunks
from labelsim.storage.json_files import read_document
from labelsim.storage.moment_store import CLASSES_PER_CHUNK, TOP, arrays, put_moments
from labelsim.storage.zarr_store import Writer, blocks, load, open_store

if TYPE_CHECKING:
    import xarray

__all__ = ["FOLDS", "moments"]

logger = logging.getLogger(__name__)

FOLDS = 8
# Means and squared deviations in memory, 1.2 GB: enough for ImageNet's 1,000 classes and ResNet34's layers.
_HELD = 150_000_000
_WRITERS = 2  # threads


def moments(features: Path, network: Path, class_ids: Path | None, classes: str, output: Path) -> None:
    """Write the moments of one shard, for its classes.

    Parameters
    ----------
    features : Path
        The shard's store, as `extract` wrote it.
    network : Path
        As the stage `network` wrote it.
    class_ids : Path or None
        As the stage `shard` wrote them; needed if the outputs are the dataset's classes.
    classes : str
        The configuration's `model.classes`.
    output : Path
        The Zarr store to write. `top1` counts the images whose largest output is that of their class, `top5` those
        where it is among the five largest; both, and `output_index`, are -1 for a class without a known output.

    Raises
    ------
    LabelsimError
        If the features are damaged, or `classes` do not fit the network's outputs.
    """
    dataset = open_store(features)
    # Sorted by class index, whatever the order of the rows.
    _, first, member = np.unique(load(dataset, "class_index"), return_index=True, return_inverse=True)
    present = load(dataset, "class_id").astype(object)[first]
    fold = folds(load(dataset, "sample_id").tolist(), FOLDS)
    expected = _expected(present.tolist(), classes, network, class_ids)
    widths = {name: dataset.sizes[dimension] for name, dimension in MOMENTS.items()}
    writer = Writer(output, arrays(FOLDS, len(present), widths), identity=dataset.attrs["digest"])
    count = np.zeros((FOLDS, len(present)), dtype=np.int64)
    rank = np.full(len(member), -1)
    writing: list[Future[None]] = []
    with ThreadPoolExecutor(_WRITERS) as pool:
        for start, by_fold in _sums(dataset, widths, fold, member, expected, rank):
            found = next(iter(by_fold.values())).count  # the same for all variables
            count[:, start : start + found.shape[1]] = found
            for put in writing:
                put.result()  # at most one block waits while the next is summed
            writing = [pool.submit(put_moments, writer, name, start, moment) for name, moment in by_fold.items()]
        for put in writing:
            put.result()
    if (empty_rows := len(fold) - count.sum()) != dataset.attrs["rejected"]:
        raise damaged(features, f"{empty_rows} of its rows are empty, but {dataset.attrs['rejected']} were rejected")
    writer.put_whole("count", count)
    for name, k in TOP.items():
        right = np.bincount(member[(rank >= 0) & (rank < k)], minlength=len(present))
        writer.put_whole(name, np.where(expected >= 0, right, -1))
    writer.put_whole("output_index", expected)
    writer.put_whole("class_id", present)
    for name in ("layer", "layer_channel"):
        writer.put_whole(name, load(dataset, name))
    writer.commit({name: dataset.attrs[name] for name in ("underflow", "computed_by")})
    logger.info("%s images of %d classes", f"{count.sum():,}", len(present))


def _sums(
    dataset: xarray.Dataset,
    widths: Mapping[str, int],
    fold: NDArray[np.int8],
    member: NDArray[np.int64],
    expected: NDArray[np.int64],
    rank: NDArray[np.int64],
) -> Iterator[tuple[int, dict[str, Moments]]]:
    """Moments by fold, a block of classes at a time, with the position of the first class; fills `rank`.

    A block stays in memory from its first row to its last: one or two at a time if rows are sorted by class. In any
    other order, as many blocks as `_HELD` allows are summed at a time, and the features are read again for the others.
    """
    classes = int(member.max(initial=-1)) + 1
    block_of = member // CLASSES_PER_CHUNK
    last = {int(block): row for row, block in enumerate(block_of)}
    most = max(1, _HELD // (FOLDS * CLASSES_PER_CHUNK * 2 * max(1, sum(widths.values()))))
    for turn in _turns(block_of, most):
        held: dict[int, dict[str, Moments]] = {}
        for part, values in feature_chunks(dataset, list(VARIABLES)):
            values["probability"] = softmax(values["logits"].astype(np.float64), axis=1)
            rank[part] = ranks(values["logits"], expected[member[part]])
            # Rows of rejected images are NaN in every array.
            used = ~np.isnan(values["hidden"]).any(axis=1)
            for block in sorted(turn.intersection(block_of[part].tolist())):
                start = block * CLASSES_PER_CHUNK
                size = min(CLASSES_PER_CHUNK, classes - start)
                if block not in held:
                    held[block] = {name: empty((FOLDS * size,), width) for name, width in widths.items()}
                rows = np.flatnonzero(used & (block_of[part] == block))
                groups = fold[part][rows].astype(np.int64) * size + member[part][rows] - start
                for name, moment in held[block].items():
                    _add(moment, values[name], rows, groups)
                if last[block] < part.stop:
                    yield start, {name: _by_fold(moment) for name, moment in held.pop(block).items()}


def _turns(block_of: NDArray[np.int64], most: int) -> list[set[int]]:
    """The blocks of classes to sum in each pass over the features: at most `most` are in memory at a time."""
    present, first = np.unique(block_of, return_index=True)
    _, from_end = np.unique(block_of[::-1], return_index=True)
    change = np.zeros(len(block_of) + 1, dtype=np.int64)
    np.add.at(change, first, 1)
    np.add.at(change, len(block_of) - from_end, -1)
    size = len(present) if np.cumsum(change).max() <= most else most
    return [set(present[part].tolist()) for part in blocks(len(present), size)]


def _add(moments: Moments, samples: NDArray[np.floating], rows: NDArray[np.int64], groups: NDArray[np.int64]) -> None:
    """Add some rows of samples to the moments of their groups, in place."""
    present, member = np.unique(groups, return_inverse=True)
    found = of_groups(samples if len(rows) == len(samples) else samples[rows], member, len(present))
    begun = moments.count[present] > 0
    merged = merge(moments.at(present[begun]), found.at(begun))
    moments.put(present, found)
    moments.put(present[begun], merged)


def _by_fold(moments: Moments) -> Moments:
    """Reshape moments of groups, numbered by fold and class, to (fold, class)."""
    shape = (FOLDS, len(moments.count) // FOLDS)
    return Moments(*(part.reshape(*shape, *part.shape[1:]) for part in moments))


def _expected(present: Sequence[str], classes: str, network: Path, class_ids: Path | None) -> NDArray[np.int64]:
    """The output for each class of the shard; -1 if none is known."""
    dataset = read_classes(class_ids.parent)[0] if class_ids is not None else []
    labels = output_labels(classes, read_document(network), dataset)
    output = {label: position for position, label in enumerate(labels or ())}
    return np.array([output.get(id_, -1) for id_ in present], dtype=np.int64)
