"""report: pictures of the result."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from PIL import Image
from pyarrow.compute import field

from labelsim.dataset.classes import find_class
from labelsim.dataset.sampling import choose
from labelsim.dataset.sources import open_source
from labelsim.errors import LabelsimError
from labelsim.images.decode import ImageError, decode
from labelsim.methods import METHODS
from labelsim.report.figures import (
    MAX_CLUSTERED,
    Neighbor,
    Row,
    heatmap_figure,
    neighbors_figure,
    no_heatmap_figure,
    save,
)
from labelsim.storage.parquet import read_metadata, read_table
from labelsim.storage.zarr_store import load, open_store

__all__ = ["draw_class", "draw_heatmap"]

logger = logging.getLogger(__name__)

_TRIES = 20  # images of a class that are tried before it is drawn without one


def draw_class(
    label: str, neighbors: Path, classes: Path, manifest: Path, dataset: Mapping[str, Any], output: Path
) -> None:
    """Draw a class with its most similar classes under each method, an example image each.

    Parameters
    ----------
    label : str
        Name or id of the class, as `report.classes` has it.
    neighbors, classes, manifest : Path
        The tables of these names.
    dataset : mapping
        The configuration's section `dataset`.
    output : Path
        The PNG to write.

    Raises
    ------
    LabelsimError
        If there is no such class, or more than one.
    """
    table = read_table(classes)
    ids, names, notes = (table[name].to_pylist() for name in ("class_id", "class_name", "notes"))
    try:
        which = find_class(label, ids, names)
    except LabelsimError as error:
        raise LabelsimError(f"report.classes: {error}") from error
    found = read_table(neighbors)
    methods = set(found["method"].unique().to_pylist())
    chosen = found.filter((field("group") == "all") & (field("class_index") == which)).to_pylist()
    examples = _Examples(manifest, dataset, {ids[which], *(row["neighbor_id"] for row in chosen)})
    rows = [
        Row(
            METHODS[method].label, [_neighbor(row, examples) for row in chosen if row["method"] == method], notes[which]
        )
        for method in METHODS
        if method in methods
    ]
    save(neighbors_figure(names[which], examples.image(ids[which]), rows), output)


def draw_heatmap(similarity: Path, method: str, output: Path) -> None:
    """Draw one similarity matrix, its classes in the order of a hierarchical clustering.

    Of more than `labelsim.report.figures.MAX_CLUSTERED` classes the picture says that they are too many.

    Parameters
    ----------
    similarity : Path
        As the stage `similarity` wrote it.
    method : str
        welch, hidden or gap.
    output : Path
        The PNG to write.
    """
    dataset = open_store(similarity)
    if (classes := dataset.sizes["class"]) > MAX_CLUSTERED:
        logger.info("No heat map of %s: %s classes are too many", method, f"{classes:,}")
        save(no_heatmap_figure(classes, METHODS[method].label), output)
        return
    where = {"group": slice(0, 1)} if "group" in dataset[method].dims else {}  # the first is the group `all`
    matrix = load(dataset, method, **where).reshape(classes, classes)
    save(heatmap_figure(matrix, load(dataset, "class_name").tolist(), METHODS[method].label), output)


def _neighbor(row: Mapping[str, Any], examples: _Examples) -> Neighbor:
    return Neighbor(row["neighbor_name"], row["similarity"], examples.image(row["neighbor_id"]))


class _Examples:
    """An example image a class: the first by hash that can be decoded."""

    def __init__(self, manifest: Path, dataset: Mapping[str, Any], class_ids: Collection[str]) -> None:
        self._rows = read_table(manifest, filters=field("class_id").isin(list(class_ids)))
        self._source = open_source(
            dataset["source"], read_metadata(self._rows)["format"], dataset["labels"], dataset["columns"]
        )
        self._images: dict[str, Image.Image | None] = {}

    def image(self, class_id: str) -> Image.Image | None:
        if class_id not in self._images:
            self._images[class_id] = self._find(class_id)
        return self._images[class_id]

    def _find(self, class_id: str) -> Image.Image | None:
        for row in choose(self._rows.filter(field("class_id") == class_id), _TRIES).to_pylist():
            try:
                return Image.fromarray(decode(self._source.read(row)))
            except (ImageError, OSError):
                continue
        logger.warning("No image of class %s can be drawn", class_id)
        return None
