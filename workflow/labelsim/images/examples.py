"""Example images of the classes of a dataset."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator

import pyarrow as pa
from PIL import Image
from pyarrow.compute import field, index_in

from labelsim.dataset.formats.base import Source
from labelsim.dataset.sampling import choose
from labelsim.images.decode import ImageError, decode

__all__ = ["example_images", "read_images"]

logger = logging.getLogger(__name__)

TRIES = 20  # images of a class to try before it has none


def read_images(samples: pa.Table, source: Source) -> Iterator[tuple[str, Image.Image | None]]:
    """Decode images one by one.

    Parameters
    ----------
    samples : pyarrow.Table
        Rows of the manifest, in any order.
    source : Source
        Reads them.

    Yields
    ------
    str
        The sample's id.
    PIL.Image.Image or None
        None if the image cannot be read or decoded.
    """
    for row in samples.to_pylist():
        try:
            yield row["sample_id"], Image.fromarray(decode(source.read(row)))
        except (ImageError, OSError):
            yield row["sample_id"], None


def example_images(
    samples: pa.Table, source: Source, class_ids: Collection[str], typical: pa.Table | None = None
) -> dict[str, Image.Image | None]:
    """Decode an example image of some classes.

    Parameters
    ----------
    samples : pyarrow.Table
        Rows of the manifest.
    source : Source
        Reads them.
    class_ids : collection of str
        The classes.
    typical : pyarrow.Table, optional
        `analysis/examples.parquet`: the images to try, in this order. Without it, some that are chosen by hash.

    Returns
    -------
    dict of str to PIL.Image.Image or None
        By class id; None if none of the images of the class can be decoded.
    """
    if typical is None:
        samples = choose(samples, TRIES)
    else:
        samples = samples.take(index_in(typical["sample_id"], samples["sample_id"]).drop_null())
    images = {}
    for class_id in class_ids:
        found = read_images(samples.filter(field("class_id") == class_id), source)
        images[class_id] = next((image for _, image in found if image is not None), None)
        if images[class_id] is None:
            logger.warning("No image of class %s can be drawn", class_id)
    return images
