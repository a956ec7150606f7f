"""What a network makes of an image: tables for a terminal, and a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from PIL import Image
from pyarrow.compute import field
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from labelsim.analysis.explain import Explanation, Label, PredictionSet
from labelsim.analysis.new_images import working_folder
from labelsim.dataset.sources import open_source
from labelsim.errors import LabelsimError, listed
from labelsim.images.decode import decode
from labelsim.images.examples import example_images
from labelsim.methods import METHODS
from labelsim.report.figures import Neighbor, Row, neighbors_figure, save_stacked
from labelsim.report.stability import STABILITY, decimals_of, similarity_text
from labelsim.run import Run
from labelsim.storage.parquet import read_metadata

__all__ = ["draw_explanation", "save_figure"]

_NEAREST = {"hidden": "nearest by h(X)", "welch": "nearest by A(X)"}
_VALUES = "image: standard deviations from the mean of the run's images; class: Welch's t"
_LISTED = 10  # labels of a prediction set


def draw_explanation(explanation: Explanation) -> RenderableType:
    """Draw what a network makes of an image, for a terminal.

    Parameters
    ----------
    explanation : Explanation
        Of an image that can be used.
    """
    first = explanation.labels[0]
    name = first.class_name if first.class_id in (None, first.class_name) else f"{first.class_name} ({first.class_id})"
    parts: list[RenderableType] = [f"[bold]{escape(explanation.image)}[/bold]: {escape(name)}, {_percent(first)}"]
    if explanation.prediction_set:
        parts.append(_set(explanation.prediction_set))
    parts.append(_labels(explanation))
    if explanation.similar:
        parts += [f"Labels similar to {escape(first.class_name)}", _similar(explanation)]
        parts += [STABILITY] if "stderr" in explanation.similar[0] else []
    if explanation.channels:
        (near,) = [row for row in explanation.nearest if row.by == "welch" and row.rank == 1]
        title = f"Channels that make the image similar to {escape(near.class_name)} ({near.similarity:+.3f})"
        parts += [title, _channels(explanation), _VALUES]
    return Group(*parts, *(f"note: {escape(note)}" for note in explanation.notes), "")


def save_figure(run: Run, explanations: Sequence[Explanation], path: Path) -> None:
    """Draw each image beside its labels and nearest classes, and below it the labels similar to the most probable one.

    A class is shown by its most typical image (`analysis.examples`), or else by one chosen by hash.

    Parameters
    ----------
    run : Run
        By which the images were explained.
    explanations : sequence of Explanation
        Of images that can be used.
    path : Path
        The PNG file to write.
    """
    manifest = run.manifest()
    origin = read_metadata(manifest)
    ids = sorted({id_ for explanation in explanations for id_ in _class_ids(explanation)})
    typical = None
    with suppress(LabelsimError):  # missing, or of an earlier dataset
        typical = run.analysis("examples")
    with working_folder(run):
        source = open_source(origin["source"], origin["format"], origin["labels"], origin["columns"])
        examples = example_images(manifest.filter(field("class_id").isin(ids)), source, ids, typical)
    save_stacked([figure for explanation in explanations for figure in _figures(explanation, examples)], path)


def _figures(explanation: Explanation, examples: Mapping[str, Image.Image | None]) -> list[Figure]:
    def neighbor(class_id: str | None, name: str, value: float) -> Neighbor:
        return Neighbor(name, value, examples.get(class_id or ""))

    image, first = Path(explanation.image), explanation.labels[0]
    title = "most probable labels"
    title += f" ({_set_size(explanation.prediction_set)})" if explanation.prediction_set else ""
    rows = [Row(title, [neighbor(row.class_id, row.class_name, row.probability) for row in explanation.labels])]
    for by, what in _NEAREST.items():
        if near := [row for row in explanation.nearest if row.by == by]:
            rows.append(Row(what, [neighbor(row.class_id, row.class_name, row.similarity) for row in near]))
    figures = [neighbors_figure(image.name, Image.fromarray(decode(image.read_bytes())), rows)]
    if explanation.similar:
        rows = [
            Row(
                METHODS[method].label,
                [neighbor(row["neighbor_id"], row["neighbor_name"], row["similarity"]) for row in similar],
            )
            for method, similar in _by_method(explanation).items()
        ]
        figures.append(neighbors_figure(f"similar to {first.class_name}", examples.get(first.class_id or ""), rows))
    return figures


def _set_size(known: PredictionSet) -> str:
    size = len(known.labels)
    return f"the {100 * known.level:.0f} % set {f'has {size:,}' if size else 'is empty'}"


def _class_ids(explanation: Explanation) -> list[str]:
    """The classes of the run in the figures of an explanation."""
    labels = [row.class_id for row in explanation.labels if row.class_id and row.class_index is not None]
    neighbors = [row["neighbor_id"] for row in explanation.similar]
    return [*labels, *(row.class_id for row in explanation.nearest), *neighbors]


def _set(known: PredictionSet) -> str:
    level, images = f"{100 * known.level:.0f} % prediction set", f"calibrated with {known.images:,} images"
    if known.threshold is None:
        return f"{level}: all labels, as {known.images:,} images are too few to calibrate it"
    if not known.labels:
        return f"{level}: empty, as no label is probable enough ({images})"
    names = listed([row.class_name for row in known.labels], _LISTED)
    return f"{level}: {escape(names)} ({images})"


def _labels(explanation: Explanation) -> Table:
    """The most probable labels, and the nearest classes."""
    columns = {"label": [f"{_percent(row):>7}  {escape(row.class_name)}" for row in explanation.labels]}
    for by, what in _NEAREST.items():
        if near := [row for row in explanation.nearest if row.by == by]:
            columns[what] = [f"{row.similarity:+.3f}  {escape(row.class_name)}" for row in near]
    table = _table(*columns)
    for rank in range(max(map(len, columns.values()))):
        table.add_row(str(rank + 1), *(cells[rank] if rank < len(cells) else "" for cells in columns.values()))
    return table


def _similar(explanation: Explanation) -> Table:
    """A line a method, a column a rank."""
    rows = _by_method(explanation)
    table = _table(*map(str, range(1, max(map(len, rows.values())) + 1)))
    table.show_lines = True
    table.columns[0].no_wrap = True
    for method, similar in rows.items():
        decimals = decimals_of([row["similarity"] for row in similar])
        table.add_row(method, *(f"{escape(row['neighbor_name'])}\n{similarity_text(row, decimals)}" for row in similar))
    return table


def _channels(explanation: Explanation) -> Table:
    table = _table("layer", "channel", "contribution", "share", "image", "class")
    for column in table.columns[2:]:
        column.justify = "right"
    for row in explanation.channels:
        share = "" if row.share is None else f"{100 * row.share:.1f} %"
        values = f"{row.contribution:+.4f}", share, f"{row.image_value:+.2f}", f"{row.class_value:+.1f}"
        table.add_row(str(row.rank), escape(row.layer), str(row.layer_channel), *values)
    return table


def _table(*columns: str) -> Table:
    table = Table("", *columns)
    for column in table.columns:
        column.overflow = "fold"  # nothing is cut off
    return table


def _by_method(explanation: Explanation) -> dict[str, list[dict[str, Any]]]:
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in explanation.similar:
        rows.setdefault(row["method"], []).append(row)
    return rows


def _percent(label: Label) -> str:
    return f"{100 * label.probability:.1f} %"
