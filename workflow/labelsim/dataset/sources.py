"""What reads the images at a path: the source of the format that is given or found there."""

from collections.abc import Callable, Mapping
from pathlib import Path

from labelsim.dataset.detection import detect
from labelsim.dataset.formats.base import Source
from labelsim.dataset.formats.flat import FlatSource
from labelsim.dataset.formats.folder import FolderSource
from labelsim.dataset.formats.ilsvrc_tar import ArchiveSource
from labelsim.dataset.formats.kaggle import KaggleSource
from labelsim.dataset.formats.parquet import ParquetSource
from labelsim.dataset.formats.webdataset import WebDatasetSource
from labelsim.errors import LabelsimError

__all__ = ["FORMATS", "format_of", "open_source"]

_SOURCES: dict[str, Callable[[str | Path, str, Mapping[str, str] | None], Source]] = {
    "folder": lambda path, labels, columns: FolderSource(path, labels),
    "flat": lambda path, labels, columns: FlatSource(path, labels),
    "kaggle": lambda path, labels, columns: KaggleSource(path, labels),
    "ilsvrc-tar": lambda path, labels, columns: ArchiveSource(path, labels),
    "webdataset": lambda path, labels, columns: WebDatasetSource(path, labels),
    "parquet": ParquetSource,
}
FORMATS = tuple(_SOURCES)


def format_of(path: str | Path, format: str, labels: str = "auto") -> str:
    """The format of the images at a path: the given one, or for `auto` the one that is found there.

    Raises
    ------
    LabelsimError
        If it cannot be found out, or may be one or another.
    """
    return detect(path, labels) if format == "auto" else format


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
    if format not in _SOURCES:
        supported = ", ".join(["auto", *FORMATS])
        raise LabelsimError(f"dataset.format: {format!r} is not supported; choose one of: {supported}")
    return _SOURCES[format](path, labels, columns)
