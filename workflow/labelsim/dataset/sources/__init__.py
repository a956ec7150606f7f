"""Where the images are: each format lists its samples and reads one of them, behind one interface."""

from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import pyarrow as pa

from labelsim.errors import LabelsimError

__all__ = ["FORMATS", "SAMPLES", "Listing", "Source", "digest", "open_source"]

FORMATS = ("folder",)

SAMPLES = pa.schema(
    [
        ("sample_id", pa.string()),
        ("class_index", pa.int32()),
        ("class_id", pa.string()),
        ("path", pa.string()),
        ("bytes", pa.int64()),
    ]
)


class Listing(NamedTuple):
    """Everything a source holds.

    Attributes
    ----------
    classes : list of str
        Class ids, sorted; the position is the class_index. Classes without images are included.
    samples : pyarrow.Table
        One row a sample, with the columns of `SAMPLES`, sorted by (class_index, sample_id). `path` is the
        locator from which the source reads the sample again.
    skipped : dict of str to int
        How many entries were left out, or deserve a word, by kind.
    """

    classes: list[str]
    samples: pa.Table
    skipped: dict[str, int]


class Source(Protocol):
    """What a format has to offer."""

    def list(self) -> Listing:
        """List the classes and the samples."""

    def read(self, row: Mapping[str, Any]) -> bytes:
        """Read one sample's bytes, found by the locator columns of its row; OSError where that fails."""

    def state(self) -> str:
        """Return a digest, cheap to take, that changes when images were added or removed."""


def open_source(path: str | Path, format: str) -> Source:
    """Open the images at a path.

    Parameters
    ----------
    path : path
        Where the images are. It need not exist yet: listing says so if it does not.
    format : str
        `auto` or one of `FORMATS`.

    Raises
    ------
    LabelsimError
        If the format is not supported.
    """
    if format in ("auto", "folder"):
        # imported here because the formats import this module
        from labelsim.dataset.sources.folder import FolderSource

        return FolderSource(path)
    supported = ", ".join(["auto", *FORMATS])
    raise LabelsimError(f"dataset.format: {format!r} is not supported; choose one of: {supported}")


def digest(data: bytes) -> str:
    """Return the digest of a sample's content: BLAKE2b of 16 bytes, in hexadecimal."""
    return blake2b(data, digest_size=16).hexdigest()
