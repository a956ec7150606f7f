"""Where the images are: each format lists its samples and reads one of them, behind one interface."""

from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import pyarrow as pa

from labelsim.errors import LabelsimError

__all__ = ["FORMATS", "SAMPLES", "Listing", "Source", "digest", "format_of", "open_source"]

FORMATS = ("folder", "flat", "kaggle", "ilsvrc-tar", "webdataset", "parquet")

# `path` and `offset` are the locator. `offset` says where in the file a sample lies: the first byte of a tar member,
# the row of a Parquet table; null for a file of its own. Texts are large: those of 72 million images pass 2 GB.
SAMPLES = pa.schema(
    [
        ("sample_id", pa.large_string()),
        ("class_index", pa.int32()),
        ("class_id", pa.large_string()),
        ("path", pa.large_string()),
        ("offset", pa.int64()),
        ("bytes", pa.int64()),
    ]
)


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


def format_of(path: str | Path, format: str, labels: str = "auto") -> str:
    """The format of the images at a path: the given one, or for `auto` the one that is found there.

    Raises
    ------
    LabelsimError
        If it cannot be found out, or may be one or another.
    """
    if format != "auto":
        return format
    from labelsim.dataset.sources.detection import detect  # imports the formats, which import this module

    return detect(path, labels)


def open_source(
    path: str | Path, format: str = "auto", labels: str = "auto", columns: Mapping[str, str] | None = None
) -> Source:
    """Open the images at a path.

    Parameters
    ----------
    path : path
        Where the images are: a folder or a file, or a pattern of files (see `labelsim.dataset.paths.expand`).
        It need not exist yet: listing says so if it does not.
    format : str
        `auto` (found by looking at what is there) or one of `FORMATS`.
    labels : str
        The configuration's `dataset.labels`.
    columns : mapping of str to str, optional
        The configuration's `dataset.columns`, for Parquet tables.

    Raises
    ------
    LabelsimError
        If the format is not supported, or cannot be found out.
    """
    format = format_of(path, format, labels)
    # imported here because the formats import this module
    if format == "folder":
        from labelsim.dataset.sources.folder import FolderSource

        return FolderSource(path, labels)
    if format == "flat":
        from labelsim.dataset.sources.flat import FlatSource

        return FlatSource(path, labels)
    if format == "kaggle":
        from labelsim.dataset.sources.kaggle import KaggleSource

        return KaggleSource(path, labels)
    if format == "ilsvrc-tar":
        from labelsim.dataset.sources.archives import ArchiveSource

        return ArchiveSource(path, labels)
    if format == "webdataset":
        from labelsim.dataset.sources.webdataset import WebDatasetSource

        return WebDatasetSource(path, labels)
    if format == "parquet":
        from labelsim.dataset.sources.parquet import ParquetSource

        return ParquetSource(path, labels, columns)
    supported = ", ".join(["auto", *FORMATS])
    raise LabelsimError(f"dataset.format: {format!r} is not supported; choose one of: {supported}")


def digest(data: bytes) -> str:
    """Return the digest of a sample's content: BLAKE2b of 16 bytes, in hexadecimal."""
    return blake2b(data, digest_size=16).hexdigest()
