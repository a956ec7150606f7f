"""Text that fits its place in a figure: measured, wrapped, shrunk, shortened."""

import re
import unicodedata
from collections.abc import Sequence
from functools import cache

import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties

__all__ = ["DARK", "DPI", "draw_text", "drawable", "fit", "font_of_size", "shorten", "text_height", "text_width"]

DPI = 150
DARK = "0.1"
LINE_HEIGHT = 1.15  # of the type's size
MAX_SHRINKING = 0.75  # of the type's size, where a text is long
MORE_FONTS = (
    "Noto Sans CJK JP",
    "Noto Sans CJK SC",
    "Noto Sans JP",
    "Hiragino Sans",
    "Yu Gothic",
    "Noto Sans",
)


def draw_text(
    axes: Axes, x: float, y: float, text: str, font: FontProperties, ha: str = "center", color: str = DARK
) -> None:
    """Draw lines below a point, as they are written: a dollar sign is no formula."""
    axes.text(
        x,
        y,
        text,
        fontproperties=font,
        ha=ha,
        va="top",
        color=color,
        linespacing=LINE_HEIGHT,
        parse_math=False,
    )


def fit(text: str, width: float, max_lines: int, points: float) -> tuple[str, FontProperties]:
    """Return a text as lines of so many inches, and its font, smaller than asked for if it must be.

    Only at the smallest size are words broken and the end, if there is still no room, left out.
    """
    pieces = re.split(r"(?<=[ _/-])", drawable(text))
    for size in np.arange(points, MAX_SHRINKING * points, -0.5):
        lines = _wrap(pieces, width, font_of_size(size))
        if len(lines) <= max_lines and max(text_width(piece, font_of_size(size)) for piece in pieces) <= width:
            return "\n".join(lines), font_of_size(size)
    font = font_of_size(MAX_SHRINKING * points)
    lines = _wrap(pieces, width, font)
    if len(lines) > max_lines:
        lines[max_lines - 1 :] = [shorten(" ".join(lines[max_lines - 1 :]), width, font)]
    return "\n".join(lines), font


def _wrap(pieces: Sequence[str], width: float, font: FontProperties) -> list[str]:
    """Return lines of so many inches; a piece that is longer than a line is broken anywhere."""
    lines = [""]
    for piece in pieces:
        for part in [piece] if text_width(piece, font) <= width else piece:
            if text_width(lines[-1] + part, font) > width:
                lines.append("")
            lines[-1] += part
    return [line.strip() for line in lines if line.strip()]


def shorten(text: str, width: float, font: FontProperties) -> str:
    """Return a text of so many inches, its end replaced by an ellipsis if it must be."""
    if text_width(text, font) <= width:
        return text
    while text and text_width(text + "…", font) > width:
        text = text[:-1]
    return text.rstrip() + "…"


def drawable(text: str) -> str:
    """Return a text with a box for each character that no font at hand has (matplotlib would warn)."""
    text = unicodedata.normalize("NFC", " ".join(text.split()))
    return "".join(character if ord(character) in _characters() else "□" for character in text)


@cache
def _characters() -> frozenset[int]:
    """Return the code points that can be drawn."""
    fonts = (font_manager.get_font(font_manager.findfont(family)) for family in _families())
    return frozenset(code for font in fonts for code in font.get_charmap())


@cache
def _families() -> list[str]:
    """Return matplotlib's own font and those installed that have more scripts."""
    installed = set(font_manager.get_font_names())
    return ["DejaVu Sans", *(family for family in MORE_FONTS if family in installed)]


def font_of_size(points: float) -> FontProperties:
    """Return the font in a size."""
    return FontProperties(family=_families(), size=float(points))


def text_width(text: str, font: FontProperties) -> float:
    """Return a line's width in inches, without the spaces at its end."""
    return _ruler().get_text_width_height_descent(text.rstrip(), font, ismath=False)[0] / DPI


def text_height(lines: str, font: FontProperties) -> float:
    """Return the height of lines in inches."""
    return (lines.count("\n") + 1) * LINE_HEIGHT * font.get_size() / 72 if lines else 0.0


@cache
def _ruler() -> RendererAgg:
    """Return what texts are measured with."""
    return FigureCanvasAgg(Figure(dpi=DPI)).get_renderer()
