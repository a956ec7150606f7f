"""heatmap: a similarity matrix as a picture."""

from __future__ import annotations

import logging
from pathlib import Path

from labelsim.methods import METHODS
from labelsim.report.figures import heatmap_figure, save, text_figure
from labelsim.statistics.clustering import MAX_CLUSTERED
from labelsim.storage.zarr_store import load, open_store

__all__ = ["heatmap"]

logger = logging.getLogger(__name__)


def heatmap(similarity: Path, method: str, output: Path) -> None:
    """Draw a similarity matrix, its classes in the order of a hierarchical clustering.

    With more than `labelsim.statistics.clustering.MAX_CLUSTERED` classes, the picture only says so.

    Parameters
    ----------
    similarity : Path
        The store of the stage `similarity`.
    method : str
        A key of `labelsim.methods.METHODS`.
    output : Path
        The PNG file to write.
    """
    dataset, title, largest = open_store(similarity), METHODS[method].label, METHODS[method].largest
    if (classes := dataset.sizes["class"]) > MAX_CLUSTERED:
        logger.info("No heat map of %s: %s classes are too many", method, f"{classes:,}")
        text = (
            f"{classes:,} classes are too many for a heat map; the limit is {MAX_CLUSTERED:,}. The most similar "
            "classes of each class are in neighbors.parquet, the whole matrix is in similarity.zarr."
        )
        save(text_figure(title, text), output)
        return
    where = {"group": slice(0, 1)} if "group" in dataset[method].dims else {}  # the first is the group `all`
    matrix = load(dataset, method, **where).reshape(classes, classes)
    save(heatmap_figure(matrix, load(dataset, "class_name").tolist(), title, largest), output)
