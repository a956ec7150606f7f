"""Resizing the part of an image that a crop keeps: the bytes that Pillow makes of the whole, sooner."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from labelsim.statistics.compiled import compiled

__all__ = ["FILTERS", "resize_part"]

FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
"""What can be resized by."""

_BITS = 22  # of a weight, after the point
_HALF = 1 << (_BITS - 1)  # what is added to round


def resize_part(
    pixels: NDArray[np.uint8], size: tuple[int, int], box: tuple[int, int, int, int], filter: str
) -> NDArray[np.uint8]:
    """Resize an image, and compute of the result only a box.

    Parameters
    ----------
    pixels : (H, W, 3) uint8
        The image.
    size : (width, height)
        What it is resized to.
    box : (left, top, width, height)
        The part of the resized image that is wanted; it lies within.
    filter : str
        Of FILTERS.

    Returns
    -------
    (height, width, 3) uint8
        Equal to ``Image.fromarray(pixels).resize(size, …)`` cropped to the box, bit for bit.

    Notes
    -----
    Pillow resizes along the rows, rounds to bytes, and resizes along the columns. A pixel is the weighted mean of those
    that the filter reaches, which is stretched where the image shrinks; weights are integers of 22 bits after the
    point. Pillow takes a box too, but then computes the weights from the box's rounded edges, and they differ.
    Images that lose much more of their height than of their width are left to Pillow, which from version 13 on
    resizes them along the columns first.
    """
    left, top, width, height = box
    high, wide = pixels.shape[:2]
    if size == (wide, high):
        return pixels[top : top + height, left : left + width]
    if high - size[1] > 2 * max(wide - size[0], 0):
        whole = np.array(Image.fromarray(pixels).resize(size, FILTERS[filter]))
        return whole[top : top + height, left : left + width]
    reach = 1 if filter == "bilinear" else 2
    columns = _weights(wide, size[0], left, width, reach)
    rows = _weights(high, size[1], top, height, reach)
    return _resize(pixels, *columns, *rows)


@compiled
def _weights(
    size: int, resized: int, first: int, count: int, reach: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]]:
    """Where each of `count` pixels begins to read, how many pixels it reads, and with which weights."""
    scale = size / resized
    stretch = max(scale, 1.0)
    support = reach * stretch
    starts = np.empty(count, np.int64)
    lengths = np.empty(count, np.int64)
    weights = np.zeros((count, int(np.ceil(support)) * 2 + 1), np.int32)
    values = np.empty(weights.shape[1])
    for i in range(count):
        centre = (first + i + 0.5) * scale
        start = max(int(centre - support + 0.5), 0)
        length = min(int(centre + support + 0.5), size) - start
        total = 0.0
        for j in range(length):
            values[j] = _filter((j + start - centre + 0.5) * (1.0 / stretch), reach)
            total += values[j]
        for j in range(length):
            weight = values[j] / total * (1 << _BITS)
            weights[i, j] = int(weight + 0.5) if weight >= 0 else int(weight - 0.5)
        starts[i], lengths[i] = start, length
    return starts, lengths, weights


@compiled
def _filter(x: float, reach: int) -> float:
    """Weight at a distance: the triangle, or for a reach of 2 the cubic convolution with a = -1/2."""
    x = abs(x)
    if x >= reach:
        return 0.0
    if reach == 1:
        return 1.0 - x
    a = -0.5
    return ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0 if x < 1.0 else (((x - 5.0) * x + 8.0) * x - 4.0) * a


@compiled
def _resize(
    pixels: NDArray[np.uint8],
    column_starts: NDArray[np.int64],
    column_lengths: NDArray[np.int64],
    column_weights: NDArray[np.int32],
    row_starts: NDArray[np.int64],
    row_lengths: NDArray[np.int64],
    row_weights: NDArray[np.int32],
) -> NDArray[np.uint8]:
    width, height = len(column_starts), len(row_starts)
    top, bottom = row_starts[0], row_starts[-1] + row_lengths[-1]
    narrow = np.empty((bottom - top, 3 * width), np.uint8)
    for row in range(bottom - top):
        line = pixels[top + row]
        for x in range(width):
            red = green = blue = _HALF
            start = column_starts[x]
            for i in range(column_lengths[x]):
                weight = column_weights[x, i]
                red += line[start + i, 0] * weight
                green += line[start + i, 1] * weight
                blue += line[start + i, 2] * weight
            narrow[row, 3 * x] = _byte(red)
            narrow[row, 3 * x + 1] = _byte(green)
            narrow[row, 3 * x + 2] = _byte(blue)
    result = np.empty((height, 3 * width), np.uint8)
    sums = np.empty(3 * width, np.int32)
    for y in range(height):
        sums[:] = _HALF
        for i in range(row_lengths[y]):
            weight = row_weights[y, i]
            line = narrow[row_starts[y] - top + i]
            for x in range(3 * width):
                sums[x] = np.int32(sums[x] + line[x] * weight)
        for x in range(3 * width):
            result[y, x] = _byte(sums[x])
    return result.reshape(height, width, 3)


@compiled
def _byte(weighted: int) -> int:
    return min(max(weighted >> _BITS, 0), 255)
