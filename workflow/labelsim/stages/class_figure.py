"""class_figure: a class and its nearest neighbors, with an example image of each."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from PIL import Image
from pyarrow.compute import field

from labelsim.dataset.classes import find_class
from labelsim.dataset.sources import open_source
from labelsim.images.examples import example_images
from labelsim.methods import METHODS
from labelsim.report.figures import Neighbor, Row, neighbors_figure, save
from labelsim.storage.parquet import read_metadata, read_table

__all__ = ["class_figure"]


def class_figure(
    label: str,
    neighbors: Path,
    classes: Path,
    manifest: Path,
    examples: Path | None,
    dataset: Mapping[str, Any],
    output: Path,
) -> None:
    """Draw a class with its most similar classes under each method.

    Parameters
    ----------
    label : str
        Name or id of the class, as in `report.classes`.
    neighbors, classes, manifest : Path
        The tables of these names.
    examples : Path or None
        The table of this name: each class is shown by its most typical image. Otherwise, by one chosen by hash.
    dataset : mapping
        Section `dataset` of the configuration.
    output : Path
        The PNG file to write.

    Raises
    ------
    LabelsimError
        If no class, or more than one, matches the label.
    """
    table = read_table(classes)
    ids, names, notes = (table[name].to_pylist() for name in ("class_id", "class_name", "notes"))
    which = find_class(label, ids, names)
    found = read_table(neighbors)
    methods = set(found["method"].unique().to_pylist())
    chosen = found.filter((field("group") == "all") & (field("class_index") == which)).to_pylist()
    images = _images(manifest, examples, dataset, [ids[which], *(row["neighbor_id"] for row in chosen)])
    rows = [
        Row(
            METHODS[method].label,
            [
                Neighbor(row["neighbor_name"], row["similarity"], images[row["neighbor_id"]])
                for row in chosen
                if row["method"] == method
            ],
            notes[which],
        )
        for method in METHODS
        if method in methods
    ]
    save(neighbors_figure(names[which], images[ids[which]], rows), output)


def _images(
    manifest: Path, examples: Path | None, dataset: Mapping[str, Any], class_ids: Collection[str]
) -> dict[str, Image.Image | None]:
    own = field("class_id").isin(list(class_ids))
    samples = read_table(manifest, filters=own)
    source = open_source(dataset["source"], read_metadata(samples)["format"], dataset["labels"], dataset["columns"])
    return example_images(samples, source, class_ids, examples and read_table(examples, filters=own))
