"""An example image of each class of a dataset."""

from __future__ import annotations

import logging
from collections.abc import Collection

import pyarrow as pa
from PIL import Image
from pyarrow.compute import field

from labelsim.dataset.formats.base import Source
from labelsim.dataset.sampling import choose
from labelsim.images.decode import ImageError, decode

__all__ = ["example_images"]

logger = logging.getLogger(__name__)

_TRIES = 20  # images of a class to try before it has none


def example_images(samples: pa.Table, source: Source, class_ids: Collection[str]) -> dict[str, Image.Image | None]:
    """Decode an example image of some classes, the same in each call.

    Parameters
    ----------
    samples : pyarrow.Table
        Rows of the manifest.
    source : Source
        Reads them.
    class_ids : collection of str
        The classes.

    Returns
    -------
    dict of str to PIL.Image.Image or None
        By class id; None if no image of the class can be decoded.
    """
    images: dict[str, Image.Image | None] = dict.fromkeys(class_ids)
    for class_id in images:
        for row in choose(samples.filter(field("class_id") == class_id), _TRIES).to_pylist():
            try:
                images[class_id] = Image.fromarray(decode(source.read(row)))
                break
            except (ImageError, OSError):
                continue
        else:
            logger.warning("No image of class %s can be drawn", class_id)
    return images
