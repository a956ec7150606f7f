"""What a format has to offer: it lists its samples, and reads one of them."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, NamedTuple, Protocol

import pyarrow as pa

__all__ = ["Listing", "Source", "digest"]


class Listing(NamedTuple):
    """Everything a source holds.

    Attributes
    ----------
    classes : list of str
        Class ids; the position is the class_index. Sorted as text ("0", "1", "10", "2"), which is torchvision's
        order of class folders, but for `webdataset` and `parquet`: labels that are numbers come in the order of the
        numbers, and labels that a table's schema names in the order of these names. Classes without images are
        included where the source names them.
    samples : pyarrow.Table
        One row a sample, with the columns of `SAMPLES`, sorted by sample_id (its UTF-8 bytes), whatever
        the classes' numbers are. A sample_id begins with its class_id and a slash, and is the same in every
        format that keeps the image's file name: so the same images are the same rows. The one exception are
        Parquet tables that would have to be read over and over in this order: see `ParquetSource.list`. `path`
        and `offset` are the locator from which the source reads the sample again.
    skipped : dict of str to int
        How many entries were left out, or deserve a word, by kind.
    """

    classes: list[str]
    samples: pa.Table
    skipped: dict[str, int]


class Source(Protocol):
    """What a format has to offer.

    Attributes
    ----------
    reads_in_groups : bool
        Whether what is read for an image serves those that lie beside it, so that one process should read for all.
    """

    reads_in_groups: bool = False

    def list(self) -> Listing:
        """List the classes and the samples."""

    def read(self, row: Mapping[str, Any]) -> bytes:
        """Read one sample's bytes, found by the locator columns of its row; OSError where that fails."""

    def state(self) -> str:
        """Return a digest, cheap to take, that changes when images were added or removed."""


def digest(data: bytes) -> str:
    """Return the digest of a sample's content: BLAKE2b of 16 bytes, in hexadecimal."""
    return blake2b(data, digest_size=16).hexdigest()
