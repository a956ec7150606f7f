"""Figures of a run: the nearest neighbors of a class, and a similarity matrix as a heat map."""

import textwrap
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, get_font_names
from matplotlib.ticker import ScalarFormatter
from PIL import Image, ImageOps
from scipy.cluster import hierarchy

from labelsim.report.stability import decimals_of
from labelsim.statistics.clustering import average_linkage, compared, distances, leaves
from labelsim.storage.atomic import write_whole

__all__ = [
    "Neighbor",
    "Row",
    "heatmap_figure",
    "neighbors_figure",
    "save",
    "save_stacked",
    "text_figure",
]

DPI = 150
GREY, PALE = "0.4", "0.9"
# Used, where installed, for characters that DejaVu Sans does not have.
MORE_FONTS = ("Noto Sans CJK JP", "Noto Sans CJK SC", "Noto Sans JP", "Hiragino Sans", "Yu Gothic", "Noto Sans")
PER_LINE = 10  # neighbors; more continue on the next line
MAX_LABELED = 60  # classes of a heat map with names and dendrogram


class Neighbor(NamedTuple):
    """A neighbor of a class: its name, its similarity, and an example image if there is one."""

    name: str
    similarity: float
    image: Image.Image | None = None


class Row(NamedTuple):
    """The neighbors of a class under one method, the most similar first; `reason` is shown if there are none."""

    label: str
    neighbors: Sequence[Neighbor]
    reason: str = "no neighbors"


@contextmanager
def _style() -> Iterator[None]:
    """Draw names as they are written: `$` starts no formula, and characters without a glyph are drawn as boxes."""
    settings: Any = {
        "font.family": ["DejaVu Sans", *(font for font in MORE_FONTS if font in get_font_names())],
        "text.parse_math": False,
        "figure.dpi": DPI,
        "lines.linewidth": 0.8,
        "xtick.labelsize": 8,
        "ytick.labelsize": 8,
    }
    with rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")
        yield


@_style()
def neighbors_figure(class_name: str, class_image: Image.Image | None, rows: Sequence[Row]) -> Figure:
    """Draw the example image of a class and, beside it, one row of neighbors for each method.

    Similarities have as many decimals as tell neighbors apart, from three to six.

    Parameters
    ----------
    class_name : str
        Name of the class.
    class_image : PIL.Image.Image or None
        Its example image, if there is one.
    rows : sequence of Row
        The methods.

    Returns
    -------
    matplotlib.figure.Figure
        To be written by `save`.
    """
    lines = [(row, start) for row in rows for start in range(0, max(1, len(row.neighbors)), PER_LINE)]
    columns = max([1, *(min(len(row.neighbors), PER_LINE) for row in rows)])
    names = {name: _fit(name, 1, 8, lines=4) for name in {neighbor.name for row in rows for neighbor in row.neighbors}}
    # Thumbnails are one inch wide and high; below each is room for the longest name and the similarity.
    across, down = 0.12, 0.4 + 0.13 * max((1 + name.count("\n") for name in names.values()), default=0)
    width, height = columns + across * (columns - 1), max(1, len(lines) + down * (len(lines) - 1))
    figure = Figure(figsize=(width, height))
    box = figure.add_axes((-3.4 / width, 0.5 - 0.8 / height, 2.1 / width, 2.1 / height))
    _draw_image(box, class_image)
    box.set_xlabel(_fit(class_name, 2.1, 13, lines=4), size=13)
    edges = {"left": 0, "right": 1, "bottom": 0, "top": 1}
    grid = figure.add_gridspec(max(1, len(lines)), columns, wspace=across, hspace=down, **edges)
    for line, (row, start) in enumerate(lines):
        decimals = decimals_of([neighbor.similarity for neighbor in row.neighbors])
        for column, neighbor in enumerate(row.neighbors[start : start + PER_LINE]):
            axes = figure.add_subplot(grid[line, column])
            _draw_image(axes, neighbor.image)
            axes.set_xlabel(f"{names[neighbor.name]}\n{neighbor.similarity:.{decimals}f}", size=8)
        first = figure.add_subplot(grid[line, 0], frameon=False, xticks=[], yticks=[])
        if not start:
            first.set_ylabel(_fit(row.label, 0.95, 10, lines=4), size=10, rotation=0, ha="right", va="center")
        if not row.neighbors:
            first.text(0, 0.5, _fit(row.reason, 4, 9, lines=3), size=9, color=GREY, va="center")
    return figure


@_style()
def heatmap_figure(similarity: np.ndarray, names: Sequence[str], title: str, largest: float = 1.0) -> Figure:
    """Draw a similarity matrix, its classes in the order of a hierarchical clustering.

    The clustering is `labelsim.statistics.clustering.average_linkage`. Classes without any similarity are left out. The
    diagonal, and pairs without a similarity, are grey.

    Parameters
    ----------
    similarity : ndarray of float, shape (C, C)
        Similarities; NaN where there is none.
    names : sequence of str
        The C names.
    title : str
        Title of the figure.
    largest : float
        Similarity of two classes that are the same.

    Returns
    -------
    matplotlib.figure.Figure
        To be written by `save`; it says so if fewer than two classes have a similarity.
    """
    kept = compared(similarity)
    left_out = len(similarity) - len(kept)
    note = f"{left_out:,} {'class' if left_out == 1 else 'classes'} left out: no similarity" if left_out else ""
    if len(kept) < 2:
        return text_figure(title, "Fewer than two classes have a similarity: there is nothing to draw.")
    matrix = np.asarray(similarity, dtype=np.float64)[np.ix_(kept, kept)]
    tree = average_linkage(distances(matrix, largest))
    order = leaves(tree)
    labeled = len(kept) <= MAX_LABELED
    side = max(3, 0.15 * len(kept)) if labeled else 7
    figure = Figure(figsize=(side, side))
    axes = figure.add_axes((0, 0, 1, 1))
    colors, low, high = _colors(matrix)
    drawn = matrix[np.ix_(order, order)]
    np.fill_diagonal(drawn, np.nan)
    image = axes.imshow(drawn, cmap=colors, vmin=low, vmax=high, aspect="auto")
    bar = axes.inset_axes((1 + 0.15 / side, 0, 0.15 / side, 1))
    figure.colorbar(image, cax=bar, extend="both", label="similarity", format=ScalarFormatter(useOffset=False))
    if labeled:
        labels = [_fit(names[kept[leaf]], 2.4, 8) for leaf in order]
        axes.set_xticks(range(len(labels)), labels, rotation=90)
        axes.set_yticks(range(len(labels)), labels)
        axes.tick_params(length=2)
        branches = axes.inset_axes((0, 1, 1, 0.6 / side))
        branches.axis("off")
        if tree[-1, 2] > 0:  # else all classes are equal, and there is no scale to draw it on
            hierarchy.dendrogram(tree, ax=branches, no_labels=True, color_threshold=0, above_threshold_color=GREY)
    else:
        axes.set(xticks=[], yticks=[], xlabel=f"{len(kept):,} classes, in the order of their clustering")
    heading = "\n".join(filter(None, [_fit(title, side + 1, 12, lines=3), note]))
    axes.set_title(heading, loc="left", pad=6 + 72 * 0.6 * labeled)
    return figure


@_style()
def text_figure(title: str, text: str) -> Figure:
    """Return a figure of words, where there is nothing to draw.

    Parameters
    ----------
    title, text : str
        The title, and what is below it.

    Returns
    -------
    matplotlib.figure.Figure
        To be written by `save`.
    """
    figure = Figure(figsize=(6, 1))
    figure.text(0, 1, _fit(title, 6, 12, lines=3), size=12, va="bottom")
    figure.text(0, 0.9, _fit(text, 6, 10, lines=10), size=10, va="top")
    return figure


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
    write_whole(path, _png(figure))


def save_stacked(figures: Sequence[Figure], path: Path) -> None:
    """Write figures one below the other as one PNG, as `save` does."""
    pictures = [Image.open(BytesIO(_png(figure))).convert("RGB") for figure in figures]
    gap = DPI // 2
    size = max(picture.width for picture in pictures), sum(picture.height + gap for picture in pictures) - gap
    whole, top = Image.new("RGB", size, "white"), 0
    for picture in pictures:
        whole.paste(picture, (0, top))
        top += picture.height + gap
    data = BytesIO()
    whole.save(data, "png", dpi=(DPI, DPI))
    write_whole(path, data.getvalue())


@_style()
def _png(figure: Figure) -> bytes:
    data = BytesIO()
    # "tight" keeps all that is drawn, beside the figure's own area too; matplotlib would add its version
    figure.savefig(data, format="png", bbox_inches="tight", pad_inches=0.2, metadata={"Software": None})
    return data.getvalue()


def _draw_image(axes: Axes, image: Image.Image | None) -> None:
    """Draw the central square of an image, or a grey box that says that there is none."""
    axes.set(xticks=[], yticks=[], facecolor=PALE)
    axes.spines[:].set_visible(False)
    if image is None:
        axes.text(0.5, 0.5, "no image", size=8, color=GREY, ha="center", va="center")
    else:
        side = min(*image.size, 2 * DPI)
        axes.imshow(ImageOps.fit(image.convert("RGB"), (side, side), Image.Resampling.LANCZOS))


def _fit(text: str, inches: float, points: float, lines: int = 1) -> str:
    """Return text wrapped to a width and shortened to a number of lines."""
    renderer, font = RendererAgg(1, 1, DPI), FontProperties(size=points)
    text = " ".join(text.split()).replace("_", "_ ")  # names may be wrapped at underscores, too
    for characters in range(len(text), 0, -1):
        wrapped = textwrap.wrap(text, characters)
        if len(wrapped) > lines:
            wrapped[lines - 1 :] = [f"{wrapped[lines - 1][: characters - 1].rstrip()}…"]
        wrapped = [line.replace("_ ", "_") for line in wrapped]
        widths = [renderer.get_text_width_height_descent(line, font, ismath=False)[0] for line in wrapped]
        if max(widths) <= inches * DPI:
            break
    return "\n".join(wrapped) if text else ""


def _colors(matrix: np.ndarray) -> tuple[Colormap, float, float]:
    """Return a color map and its limits, the 1st and 99th percentile off the diagonal.

    Where both signs occur, the color map is diverging, with its center at 0.
    """
    low, high = np.nanpercentile(matrix[~np.eye(len(matrix), dtype=bool)], [1, 99])
    name = "viridis"
    if low < 0 < high:
        high = max(-low, high)
        low, name = -high, "coolwarm"
    low = min(low, high - 1e-5)  # equal similarities need a scale, too
    return colormaps[name].with_extremes(bad=PALE), float(low), float(high)
