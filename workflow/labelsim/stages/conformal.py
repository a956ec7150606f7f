"""conformal: how many prediction sets of the images of a class hold each output."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from labelsim.analysis.calibration import class_of_images, image_scores, probabilities
from labelsim.dataset.sampling import folds
from labelsim.statistics.conformal import LEVEL, prediction_sets, scores, threshold
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
        holds the output; `threshold` (fold). Its attribute `threshold` is for new images: that of all images, null if
        infinite.
    """
    dataset = open_store(moments)
    size, of_class = dataset.sizes["fold"], load(dataset, "output_index")
    shards = [open_store(path) for path in features]
    labels = [class_of_images(shard, dataset) for shard in shards]
    fold = [folds(load(shard, "sample_id").tolist(), size).astype(np.int64) for shard in shards]
    score, part = np.concatenate([image_scores(shard, dataset) for shard in shards]), np.concatenate(fold)
    known = ~np.isnan(score)
    thresholds = np.array([threshold(score[known & (part != f)]) for f in range(size)])
    outputs = dataset.sizes["output"]
    images = np.zeros((size, len(of_class)), dtype=np.int64)
    held = np.zeros((size, len(of_class), outputs), dtype=np.int32)
    covered = 0
    for shard, own, part_of in zip(shards, labels, fold, strict=True):
        for rows, probability in probabilities(shard):
            used = ~np.isnan(probability).any(axis=1)
            limits, expected = thresholds[part_of[rows][used]], of_class[own[rows][used]]
            sets = prediction_sets(probability[used], limits)
            group, member = np.unique(part_of[rows][used] * len(of_class) + own[rows][used], return_inverse=True)
            counts = np.eye(len(group), dtype=np.float32)[:, member] @ sets.astype(np.float32)  # exact
            held.reshape(-1, outputs)[group] += counts.astype(np.int32)
            images.reshape(-1)[group] += np.bincount(member, minlength=len(group))
            covered += int((scores(probability[used], expected) <= limits).sum())
    _write(output, dataset, images, held, thresholds, covered, threshold(score[known]))


def _write(
    output: Path,
    dataset: xarray.Dataset,
    images: NDArray[np.int64],
    held: NDArray[np.int32],
    thresholds: NDArray[np.float64],
    covered: int,
    of_all: float,
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
    writer.commit({"sets": sets, "threshold": of_all if np.isfinite(of_all) else None})  # JSON has no infinity
    if judged:
        logger.info("%.2f %% of %s images are in their prediction set", 100 * covered / judged, f"{judged:,}")
