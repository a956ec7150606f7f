"""Pictures of the results: a class's neighbours under each method, and a similarity matrix as a heat map.

Figures are laid out in inches and made without pyplot (no global state, no window).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image
from scipy.cluster import hierarchy
from scipy.spatial.distance import squareform

from labelsim.report.text import DARK, DPI, draw_text, drawable, fit, font_of_size, shorten, text_height, text_width
from labelsim.storage.atomic import write_whole

__all__ = [
    "MAX_CLUSTERED",
    "Neighbor",
    "Row",
    "heatmap_figure",
    "neighbors_figure",
    "no_heatmap_figure",
    "save",
]

GREY, PALE = "0.4", "0.9"

# The neighbours' figure; lengths in inches.
MARGIN, GAP = 0.2, 0.12
CLASS_SIDE, CELL_SIDE = 2.1, 1.0
LABEL_WIDTH = 0.95
PER_LINE = 10  # more neighbours go on in a second line: on a page, a wider figure could not be read
REASON_CELLS = 4

# The heat map; lengths in inches.
MATRIX_SIDE = (3.0, 7.0)  # from, to
LABELLED_CELL = 0.2  # wished for
TREE_HEIGHT = 0.6
MAX_TICK_LABEL = 2.4
BAR_ROOM = 1.3
SENTENCE_WIDTH = 6.0
MAX_LABELLED = 60  # classes
MAX_CLUSTERED = 5000  # classes: takes memory of their square several times over, and no picture has so many pixels
MAX_OPTIMALLY_ORDERED = 1000  # classes: a better order takes time of their square, at best


@dataclass(frozen=True)
class Neighbor:
    """One neighbour of a class.

    Attributes
    ----------
    name : str
        Its name.
    similarity : float
        Its similarity to the class.
    image : PIL.Image.Image or None
        An example image, if there is one.
    """

    name: str
    similarity: float
    image: Image.Image | None = None


@dataclass(frozen=True)
class Row:
    """A class's neighbours under one method.

    Attributes
    ----------
    label : str
        The method, as figures call it.
    neighbors : sequence of Neighbor
        The most similar first.
    reason : str
        What to say if there are none.
    """

    label: str
    neighbors: Sequence[Neighbor]
    reason: str = "no neighbors"


def neighbors_figure(class_name: str, class_image: Image.Image | None, rows: Sequence[Row]) -> Figure:
    """Draw a class's example image and beside it, one row a method, its neighbours with theirs.

    Parameters
    ----------
    class_name : str
        The class's name.
    class_image : PIL.Image.Image or None
        Its example image, if there is one.
    rows : sequence of Row
        The methods.

    Returns
    -------
    matplotlib.figure.Figure
        The figure.
    """
    figure = Figure(dpi=DPI)
    axes = _page(figure)
    left = MARGIN + CLASS_SIDE + 2 * GAP + LABEL_WIDTH + GAP
    bottom = MARGIN
    for row in rows:
        bottom = _draw_row(axes, row, left, bottom) + 2 * GAP

    name, font = fit(class_name, CLASS_SIDE, max_lines=4, points=13)
    class_height = CLASS_SIDE + GAP + text_height(name, font)
    height = max(bottom - 2 * GAP, MARGIN + class_height) + MARGIN
    top = (height - class_height) / 2
    _draw_image(axes, class_image, MARGIN, top, CLASS_SIDE)
    draw_text(axes, MARGIN + CLASS_SIDE / 2, top + CLASS_SIDE + GAP, name, font)

    cells = max((min(len(row.neighbors), PER_LINE) or REASON_CELLS for row in rows), default=0)
    _set_size(figure, axes, left + cells * (CELL_SIDE + GAP) - GAP + MARGIN, height)
    return figure


def heatmap_figure(similarity: np.ndarray, names: Sequence[str], title: str) -> Figure:
    """Draw a similarity matrix, its classes in the order of a hierarchical clustering.

    The clustering is average linkage on 1 - similarity. Classes without any similarity are left out.

    Parameters
    ----------
    similarity : ndarray of float, shape (C, C)
        Similarities, -1 to 1; NaN where there is none.
    names : sequence of str
        The C names.
    title : str
        The figure's title.

    Returns
    -------
    matplotlib.figure.Figure
        The figure; a sentence in place of the matrix if there are fewer than two classes to show.

    References
    ----------
    `scipy.cluster.hierarchy.linkage`; the order of the leaves is Bar-Joseph et al. (2001).
    """
    kept = _kept(similarity)
    left_out = len(similarity) - len(kept)
    note = f"{left_out:,} {'class' if left_out == 1 else 'classes'} left out: no similarity" if left_out else ""
    if len(kept) < 2:
        return _sentence_figure(title, "Fewer than two classes have a similarity: there is nothing to draw.", note)
    matrix = np.asarray(similarity, dtype=np.float64)[np.ix_(kept, kept)]
    tree = _cluster(matrix)
    order = hierarchy.leaves_list(tree)
    labels = [names[kept[leaf]] for leaf in order] if len(kept) <= MAX_LABELLED else None
    return _draw_heatmap(matrix[np.ix_(order, order)], tree, labels, title, note)


def no_heatmap_figure(classes: int, title: str) -> Figure:
    """Say in place of a heat map that there are more than `MAX_CLUSTERED` classes.

    Parameters
    ----------
    classes : int
        Their number.
    title : str
        The figure's title.

    Returns
    -------
    matplotlib.figure.Figure
        The figure.
    """
    return _sentence_figure(
        title,
        f"{classes:,} classes are too many for a heat map, which is drawn of up to {MAX_CLUSTERED:,}.",
        "The most similar classes of each are in neighbors.parquet, the matrix itself in similarity.zarr.",
    )


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG; the same figure gives the same bytes.

    The file appears under its name when it is complete.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        The figure.
    path : Path
        Where to; missing folders are made.
    """
    data = BytesIO()
    # matplotlib would write its version into the file
    figure.savefig(data, format="png", metadata={"Software": None})
    write_whole(path, data.getvalue())


def _draw_row(axes: Axes, row: Row, left: float, top: float) -> float:
    """Draw a method's label and neighbours; return where they end."""
    height = CELL_SIDE if row.neighbors else CELL_SIDE / 2
    label, font = fit(row.label, LABEL_WIDTH, max_lines=4, points=10)
    draw_text(axes, left - GAP, top + (height - text_height(label, font)) / 2, label, font, ha="right")
    if not row.neighbors:
        reason, font = fit(row.reason, REASON_CELLS * CELL_SIDE, max_lines=3, points=9)
        draw_text(axes, left, top + (height - text_height(reason, font)) / 2, reason, font, ha="left", color=GREY)
        return top + height
    for start in range(0, len(row.neighbors), PER_LINE):
        top = _draw_line(axes, row.neighbors[start : start + PER_LINE], left, top) + GAP
    return top - GAP


def _draw_line(axes: Axes, neighbors: Sequence[Neighbor], left: float, top: float) -> float:
    """Draw neighbours side by side, below each image the name and the similarity; return where they end."""
    bottom = top
    for neighbor in neighbors:
        _draw_image(axes, neighbor.image, left, top, CELL_SIDE)
        middle, y = left + CELL_SIDE / 2, top + CELL_SIDE + GAP / 3
        for text, color in ((neighbor.name, DARK), (f"{neighbor.similarity:.3f}", GREY)):
            lines, font = fit(text, CELL_SIDE, max_lines=4, points=8)
            draw_text(axes, middle, y, lines, font, color=color)
            y += text_height(lines, font)
        bottom = max(bottom, y)
        left += CELL_SIDE + GAP
    return bottom


def _draw_image(axes: Axes, image: Image.Image | None, left: float, top: float, side: float) -> None:
    """Draw an image's central square, or a grey box."""
    if image is None:
        axes.add_patch(Rectangle((left, top), side, side, color=PALE))
        text, font = fit("no image", side, max_lines=1, points=8)
        draw_text(axes, left + side / 2, top + (side - text_height(text, font)) / 2, text, font, color=GREY)
        return
    square = _square(image, round(side * DPI))
    extent = (left, left + side, top + side, top)
    # the pixels of a tiny image are meant to be seen
    axes.imshow(square, extent=extent, aspect="auto", interpolation="nearest" if square.width <= 32 else "bicubic")


def _square(image: Image.Image, side: int) -> Image.Image:
    """Return an image's central square as RGB, no larger than it will be drawn (photos may be huge)."""
    shorter = min(image.size)
    left, top = (image.width - shorter) // 2, (image.height - shorter) // 2
    square = image.crop((left, top, left + shorter, top + shorter)).convert("RGB")
    size = min(shorter, side)
    return square.resize((size, size), Image.Resampling.LANCZOS)


def _kept(similarity: np.ndarray) -> np.ndarray:
    """Return the indices of the classes that have a similarity to any other class."""
    present = np.isfinite(similarity)
    np.fill_diagonal(present, False)
    return np.flatnonzero(present.any(axis=1))


def _cluster(matrix: np.ndarray) -> np.ndarray:
    """Return the average linkage of 1 - similarity; a missing similarity counts as 0."""
    symmetric = np.nan_to_num((matrix + matrix.T) / 2)
    distance = np.clip(1 - symmetric, 0, 2)  # rounding may take a cosine beyond 1
    np.fill_diagonal(distance, 0)
    optimal = len(matrix) <= MAX_OPTIMALLY_ORDERED
    return hierarchy.linkage(squareform(distance, checks=False), method="average", optimal_ordering=optimal)


def _colors(matrix: np.ndarray) -> tuple[Colormap, float, float]:
    """Return a colour map and its limits, the 1st and 99th percentile of what lies off the diagonal.

    Where both signs occur the map is a diverging one, its middle at 0; else the middle would mean nothing.
    """
    low, high = np.nanpercentile(matrix[~np.eye(len(matrix), dtype=bool)], [1, 99])
    name = "viridis"
    if low < 0 < high:
        high = max(-low, high)
        low, name = -high, "coolwarm"
    low = min(low, high - 0.01)  # equal similarities need a scale, too
    return colormaps[name].with_extremes(bad=PALE), float(low), float(high)


def _draw_heatmap(matrix: np.ndarray, tree: np.ndarray, labels: Sequence[str] | None, title: str, note: str) -> Figure:
    """Draw an ordered matrix, with labels and the tree where the classes are few enough."""
    count = len(matrix)
    side = float(np.clip(LABELLED_CELL * count, *MATRIX_SIDE)) if labels else MATRIX_SIDE[1]
    tick_font = font_of_size(min(9, 0.75 * 72 * side / count))
    texts = [shorten(drawable(label), MAX_TICK_LABEL, tick_font) for label in labels or ()]
    tick_room = max((text_width(text, tick_font) for text in texts), default=10 / 72)
    margin = MARGIN + GAP + tick_room
    tree_height = TREE_HEIGHT if labels else 0.0
    heading, heading_font = fit(title, side + BAR_ROOM, max_lines=3, points=12)
    subheading, note_font = fit(note, side + BAR_ROOM, max_lines=2, points=9)
    heading_height = text_height(heading, heading_font) + text_height(subheading, note_font) + GAP

    figure = Figure(dpi=DPI)
    page = _page(figure)
    top = MARGIN + heading_height + tree_height
    width, height = margin + side + BAR_ROOM, top + side + margin
    _set_size(figure, page, width, height)
    draw_text(page, margin, MARGIN, heading, heading_font, ha="left")
    draw_text(page, margin, MARGIN + text_height(heading, heading_font), subheading, note_font, ha="left", color=GREY)

    axes = _place(figure, margin, top, side, side)
    cmap, low, high = _colors(matrix)
    image = axes.imshow(matrix, cmap=cmap, vmin=low, vmax=high, interpolation="antialiased", aspect="auto")
    if labels:
        ticks = np.arange(count)
        axes.set_xticks(ticks, texts, rotation=90, fontproperties=tick_font, parse_math=False)
        axes.set_yticks(ticks, texts, fontproperties=tick_font, parse_math=False)
        axes.tick_params(length=2)
        _draw_tree(_place(figure, margin, top - tree_height, side, tree_height), tree)
    else:
        axes.set(xticks=[], yticks=[])
        axes.set_xlabel(f"{count:,} classes, in the order of their clustering", fontproperties=font_of_size(10))
    bar = figure.colorbar(image, cax=_place(figure, margin + side + 0.15, top, 0.15, side), extend="both")
    bar.set_label("cosine similarity", fontproperties=font_of_size(10))
    return figure


def _draw_tree(axes: Axes, tree: np.ndarray) -> None:
    """Draw a linkage's dendrogram over a matrix of the same width."""
    branches = hierarchy.dendrogram(tree, no_plot=True)
    # scipy puts leaf i at 10 i + 5
    segments = [
        np.column_stack((np.array(x) / 10, y)) for x, y in zip(branches["icoord"], branches["dcoord"], strict=True)
    ]
    axes.add_collection(LineCollection(segments, colors=GREY, linewidths=0.8))
    axes.set(xlim=(0, len(tree) + 1), ylim=(0, 1.05 * tree[-1, 2] or 1))
    axes.axis("off")


def _sentence_figure(title: str, *sentences: str) -> Figure:
    """Return a figure of words."""
    figure = Figure(dpi=DPI)
    axes = _page(figure)
    y = MARGIN
    for text, points in ((title, 12), *((sentence, 10) for sentence in sentences)):
        lines, font = fit(text, SENTENCE_WIDTH, max_lines=3, points=points)
        draw_text(axes, MARGIN, y, lines, font, ha="left")
        y += text_height(lines, font) + GAP
    _set_size(figure, axes, SENTENCE_WIDTH + 2 * MARGIN, y + MARGIN)
    return figure


def _page(figure: Figure) -> Axes:
    """Return axes that cover a figure, without a frame; its coordinates are inches from the top left."""
    axes = figure.add_axes((0, 0, 1, 1))
    axes.axis("off")
    return axes


def _set_size(figure: Figure, page: Axes, width: float, height: float) -> None:
    figure.set_size_inches(width, height)
    page.set(xlim=(0, width), ylim=(height, 0))


def _place(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Return new axes at a place given in inches from the top left."""
    whole_width, whole_height = figure.get_size_inches()
    bottom = whole_height - top - height
    return figure.add_axes((left / whole_width, bottom / whole_height, width / whole_width, height / whole_height))
