"""Thumbnails of example images, as sheets: a row of squares for each class of a block."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from io import BytesIO

import pyarrow as pa
from PIL import Image, ImageOps
from pyarrow import compute

__all__ = ["SIDE", "chosen", "sheet", "thumbnail"]

SIDE = 64  # pixels
_QUALITY = 45  # of WebP: 0.7 to 0.9 kB for a photograph


def chosen(examples: pa.Table, evidence_images: pa.Table, number: int) -> dict[int, list[str]]:
    """Sample ids of the thumbnails of each class, by class index.

    The first is the most typical image. Then come those that activate channels of the evidence most, first the one
    that does so for most channels, and then more typical ones.

    Parameters
    ----------
    examples, evidence_images : pyarrow.Table
        The tables of these names in `analysis`.
    number : int
        Thumbnails of each class.
    """
    found: dict[int, list[str]] = {}
    typical: dict[int, list[str]] = {}
    for index, sample in zip(examples["class_index"].to_pylist(), examples["sample_id"].to_pylist(), strict=True):
        typical.setdefault(index, []).append(sample)
    first = evidence_images.filter(compute.equal(evidence_images["rank"], 1))
    counts = first.group_by(["class_index", "sample_id"]).aggregate([([], "count_all")])
    times: dict[int, dict[str, int]] = {}
    rows = (counts[name].to_pylist() for name in ("class_index", "sample_id", "count_all"))
    for index, sample, count in zip(*rows, strict=True):
        times.setdefault(index, {})[sample] = count
    for index, samples in typical.items():
        own = times.get(index, {})
        often = sorted(own, key=lambda sample: (-own[sample], sample))
        found[index] = list(dict.fromkeys([samples[0], *often, *samples]))[:number]
    return found


def thumbnail(image: Image.Image) -> Image.Image:
    """The central square of an image."""
    return ImageOps.fit(image.convert("RGB"), (SIDE, SIDE), Image.Resampling.LANCZOS)


def sheet(rows: Sequence[Iterable[Image.Image | None]], columns: int) -> bytes:
    """Thumbnails in a grid, as WebP; grey where there is none."""
    whole = Image.new("RGB", (columns * SIDE, max(1, len(rows)) * SIDE), "#888888")
    for y, row in enumerate(rows):
        for x, image in enumerate(row):
            if image is not None:
                whole.paste(image, (x * SIDE, y * SIDE))
    data = BytesIO()
    whole.save(data, "webp", quality=_QUALITY, method=5)
    return data.getvalue()
