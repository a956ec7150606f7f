"""explorer: a page that shows the tables of the run in a browser."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import compute

from labelsim.analysis.stored import stored
from labelsim.dataset.classes import find_class
from labelsim.dataset.sources import open_source
from labelsim.images.examples import read_images
from labelsim.methods import METHODS
from labelsim.report.explorer.page import packed, write_page
from labelsim.report.explorer.pieces import (
    BLOCK,
    class_piece,
    map_piece,
    matrix_piece,
    of_all_layers,
    pair_pieces,
    tree_piece,
)
from labelsim.report.explorer.thumbnails import SIDE, chosen, sheet, thumbnail
from labelsim.storage.json_files import read_document
from labelsim.storage.parquet import read_metadata, read_table
from labelsim.storage.zarr_store import blocks, load, open_store

__all__ = ["explorer"]

logger = logging.getLogger(__name__)

_ONE_FILE = 2000  # classes; with more the page is a folder
_MATRIX = 5000  # classes; the clustering goes no further
_WNID = re.compile(r"n\d{8}")
_TERMS = (
    "The thumbnails are images of the dataset. ImageNet's terms of access forbid passing its images on: if they are "
    "ImageNet's, do not share this page. With report.explorer.thumbnails: 0 it has none."
)


def explorer(
    tables: Mapping[str, Path],
    similarity: Path,
    summary: Path,
    manifest: Path,
    config: Mapping[str, Any],
    output: Path,
) -> None:
    """Write the explorer page.

    Parameters
    ----------
    tables : mapping of str to Path
        `neighbors`, `classes`, and the tables of the analyses that are enabled, by name.
    similarity, summary, manifest : Path
        As the stages `similarity`, `neighbors` and `scan` wrote them.
    config : mapping
        The whole configuration.
    output : Path
        The HTML file to write. If it would be larger than `report.explorer.budget_mb`, or has more than 2,000 classes,
        it leads to a folder beside it that has the page and its data.
    """
    found = {name: read_table(path) for name, path in tables.items()}
    classes, options = found["classes"], config["report"]["explorer"]
    matrices = open_store(similarity)
    groups = load(matrices, "group_name").tolist()
    methods = [name for name in METHODS if name in matrices]
    layers = _layers(found)
    pieces = dict(_thumbnails(found, manifest, config["dataset"], options["thumbnails"]))
    shown = pieces.pop("shown")
    if "stability" in found:
        found["neighbors"] = found["stability"]
    if "evidence_images" in found:
        found["evidence_images"] = _with_thumbnails(found["evidence_images"], shown)
    contents = {
        "classes": class_piece(classes, found.get("wordnet"), found.get("class_stability"), _sizes(shown, classes))
    }
    rows = pair_pieces(found, methods, groups, layers, len(classes))
    pieces |= {name: packed(content) for name, content in rows}  # of many classes, too much to hold unpacked
    colors = {}
    if "map" in found and len(found["map"]):
        contents["map"] = map_piece(found["map"], len(classes))
    if "tree" in found and len(found["tree"]):
        for matrix in stored(matrices):
            if matrix.group == "all" and len(classes) <= _MATRIX:
                contents[f"matrix/{matrix.method}"], colors[matrix.method] = matrix_piece(matrix, len(classes))
                contents[f"tree/{matrix.method}"] = tree_piece(found["map"], found["tree"], matrix.method)
    contents["run"] = json.dumps(
        {
            **_run(found, read_document(summary), config),
            "date": f"{datetime.fromtimestamp(tables['neighbors'].stat().st_mtime, UTC):%Y-%m-%d}",
            "block": BLOCK,
            "side": SIDE,
            "columns": max(_sizes(shown, classes), default=0),
            "methods": [_method(name, groups) for name in methods],
            "groups": groups,
            "layers": layers,
            "colors": colors,
            "first": _first(found, config["report"]["classes"]),
            "terms": _TERMS if shown and all(map(_WNID.fullmatch, classes["class_id"].to_pylist())) else None,
        },
        ensure_ascii=False,
    ).encode()
    texts = pieces | {name: packed(content) for name, content in contents.items()}
    size = sum(map(len, texts.values())) / 1e6
    large = size > options["budget_mb"] or len(classes) > _ONE_FILE
    write_page(texts, f"{config['run']} · labelsim", output, as_folder=large)
    logger.info("Explorer page of %s classes: %.1f MB%s", f"{len(classes):,}", size, ", as a folder" * large)


def _run(found: Mapping[str, pa.Table], summary: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """What the page knows of the run."""
    keys = ("labelsim", "images", "classes", "channels", "neighbors", "accuracy", "conformal", "warning")
    rows = {name: found[name].to_pylist() for name in ("judgement", "agreement") if name in found}
    made = read_metadata(found["neighbors"])
    return {
        "name": config["run"],
        "model": made["model"]["name"],
        "weights": made["model"]["weights"],
        **{key: summary[key] for key in keys},
        "tables": sorted(found),
        "probe": made["probe"]["at"],
        "reference": read_metadata(found["judgement"])["reference"] if "judgement" in found else None,
        **rows,
    }


def _method(name: str, groups: list[str]) -> dict[str, Any]:
    method = METHODS[name]
    return {
        "name": name,
        "label": method.label,
        "groups": len(groups) if method.by_layer else 1,
        "evidence": method.by_channel,
    }


def _layers(found: Mapping[str, pa.Table]) -> list[str]:
    """Names of the layers, in the order of the network."""
    names: dict[str, None] = {}
    for table in ("evidence_layers", "channels"):
        if table in found:
            names |= dict.fromkeys(of_all_layers(found[table])["layer"].unique().cast(pa.string()).to_pylist())
    return list(names)


def _first(found: Mapping[str, pa.Table], chosen: Iterable[str]) -> int:
    """Index of the class that the page shows first."""
    ids, names = (found["classes"][name].to_pylist() for name in ("class_id", "class_name"))
    for label in chosen:
        return find_class(label, ids, names)
    indices = found["neighbors"]["class_index"]
    return int(compute.min(indices).as_py()) if len(indices) else 0


def _thumbnails(
    found: Mapping[str, pa.Table], manifest: Path, dataset: Mapping[str, Any], number: int
) -> Iterator[tuple[str, Any]]:
    """The sheets of thumbnails, and, as `shown`, the samples of each class that are on them."""
    if not number or "examples" not in found or not len(found["examples"]):
        yield "shown", {}
        return
    shown = chosen(found["examples"], found["evidence_images"], number)
    yield "shown", shown
    rows = read_table(manifest)
    source = open_source(dataset["source"], read_metadata(rows)["format"], dataset["labels"], dataset["columns"])
    columns = max(map(len, shown.values()))
    for part in blocks(len(found["classes"]), BLOCK):
        samples = [shown.get(index, []) for index in range(part.start, part.stop)]
        wanted = pa.array([sample for row in samples for sample in row], rows.schema.field("sample_id").type)
        own = rows.filter(compute.is_in(rows["sample_id"], wanted))
        small = {name: thumbnail(image) for name, image in read_images(own, source) if image is not None}
        # Lists of classes show the first of each: it has a sheet of its own, so that those stay small.
        block = part.start // BLOCK
        yield f"thumbnails/{block}", packed(sheet([map(small.get, row[:1]) for row in samples], 1))
        if columns > 1:
            yield f"more/{block}", packed(sheet([map(small.get, row[1:]) for row in samples], columns - 1))


def _sizes(shown: Mapping[int, list[str]], classes: pa.Table) -> list[int]:
    return [len(shown.get(index, ())) for index in range(len(classes))]


def _with_thumbnails(images: pa.Table, shown: Mapping[int, list[str]]) -> pa.Table:
    """The images that activate channels most and have a thumbnail, with its place among those of its class."""
    places = [(index, sample, i) for index, samples in shown.items() for i, sample in enumerate(samples)]
    columns = zip(*places, strict=True) if places else ((), (), ())
    types = (images.schema.field("class_index").type, images.schema.field("sample_id").type, pa.int32())
    keys = ["class_index", "sample_id"]
    table = pa.table(
        [pa.array(column, type) for column, type in zip(columns, types, strict=True)], [*keys, "thumbnail"]
    )
    numbered = images.append_column("row", pa.array(range(len(images)), pa.int64()))
    return numbered.join(table, keys, join_type="inner").sort_by("row").drop_columns("row")
