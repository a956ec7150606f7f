"""conformal: how many prediction sets of the images of a class hold each output."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from labelsim.dataset.sampling import folds
from labelsim.statistics.conformal import LEVEL, prediction_sets, scores, threshold
from labelsim.storage.feature_store import feature_chunks
from labelsim.storage.moment_store import class_labels
from labelsim.storage.zarr_store import Array, Writer, load, open_store

if TYPE_CHECKING:
    import xarray

__all__ = ["conformal"]

logger = logging.getLogger(__name__)

_CLASSES = 64  # in a chunk


def conformal(features: Sequence[Path], moments: Path, output: Path) -> None:
    """Write the prediction sets of all images, counted by fold and class.

    The sets of a fold are calibrated with the images of all other folds, so no image calibrates its own set.

    Parameters
    ----------
    features : sequence of Path
        The shards' stores, as `extract` wrote them.
    moments : Path
        As `merge` wrote them.
    output : Path
        The Zarr store to write: `images` (fold, class); `held` (fold, class, output), the number of images whose set
        holds the output; `threshold` (fold).
    """
    dataset = open_store(moments)
    size, of_class = dataset.sizes["fold"], load(dataset, "output_index")
    index = {id_: i for i, id_ in enumerate(load(dataset, "class_id").tolist())}
    shards = [open_store(path) for path in features]
    # The classes' order may have changed since a shard was extracted.
    labels = [np.array([index[id_] for id_ in load(shard, "class_id").tolist()]) for shard in shards]
    fold = [folds(load(shard, "sample_id").tolist(), size).astype(np.int64) for shard in shards]
    found: list[list[NDArray[np.float64]]] = [[] for _ in range(size)]
    for shard, own, part_of in zip(shards, labels, fold, strict=True):
        for rows, probability in _probabilities(shard):
            score = scores(probability, of_class[own[rows]])
            for f in range(size):
                found[f].append(score[(part_of[rows] == f) & ~np.isnan(score)])
    calibration = [np.concatenate(parts) for parts in found]
    thresholds = np.array([threshold(np.concatenate(calibration[:f] + calibration[f + 1 :])) for f in range(size)])
    outputs = dataset.sizes["output"]
    images = np.zeros((size, len(index)), dtype=np.int64)
    held = np.zeros((size, len(index), outputs), dtype=np.int32)
    covered = 0
    for shard, own, part_of in zip(shards, labels, fold, strict=True):
        for rows, probability in _probabilities(shard):
            used = ~np.isnan(probability).any(axis=1)
            limits, expected = thresholds[part_of[rows][used]], of_class[own[rows][used]]
            sets = prediction_sets(probability[used], limits)
            group, member = np.unique(part_of[rows][used] * len(index) + own[rows][used], return_inverse=True)
            counts = np.eye(len(group), dtype=np.float32)[:, member] @ sets.astype(np.float32)  # exact
            held.reshape(-1, outputs)[group] += counts.astype(np.int32)
            images.reshape(-1)[group] += np.bincount(member, minlength=len(group))
            covered += int((scores(probability[used], expected) <= limits).sum())
    _write(output, dataset, images, held, thresholds, covered)


def _write(
    output: Path,
    dataset: xarray.Dataset,
    images: NDArray[np.int64],
    held: NDArray[np.int32],
    thresholds: NDArray[np.float64],
    covered: int,
) -> None:
    size, classes, outputs = held.shape
    arrays = {
        "images": Array(("fold", "class"), images.shape, "int64"),
        "held": Array(("fold", "class", "output"), held.shape, "int32", (size, min(classes, _CLASSES), outputs)),
        "threshold": Array(("fold",), (size,), "float64"),
        "class_id": Array(("class",), (classes,), "str", coordinate=True),
        "class_name": Array(("class",), (classes,), "str", coordinate=True),
    }
    writer = Writer(output, arrays, identity=dataset.attrs["digest"])
    values: dict[str, NDArray[Any]] = {"images": images, "held": held, "threshold": thresholds}
    for name, value in (values | class_labels(dataset)).items():
        writer.put_whole(name, value)
    judged = int(images[:, load(dataset, "output_index") >= 0].sum())
    sets = {
        "level": LEVEL,
        "images": judged,
        "coverage": covered / judged if judged else None,
        "mean_size": float(held.sum() / images.sum()) if images.any() else None,
    }
    writer.commit({"sets": sets})
    if judged:
        logger.info("%.2f %% of %s images are in their prediction set", 100 * covered / judged, f"{judged:,}")


def _probabilities(shard: xarray.Dataset) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    """Softmax of the logits, some rows at a time; NaN for images that could not be used."""
    for rows, values in feature_chunks(shard, ["logits"]):
        yield rows, softmax(values["logits"].astype(np.float64), axis=1)
