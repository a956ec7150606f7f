"""Which format a dataset has, and what reads it."""

import itertools
import os
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

from labelsim.dataset.formats.base import Source
from labelsim.dataset.formats.entries import is_folder, is_image, may_hold_images, some
from labelsim.dataset.formats.flat import FlatSource
from labelsim.dataset.formats.folder import FolderSource
from labelsim.dataset.formats.ilsvrc_tar import ArchiveSource
from labelsim.dataset.formats.kaggle import KaggleSource, holds_splits, is_split
from labelsim.dataset.formats.parquet import ParquetSource
from labelsim.dataset.formats.tar import opened, tar_members
from labelsim.dataset.formats.webdataset import WebDatasetSource
from labelsim.dataset.paths import expand
from labelsim.errors import LabelsimError

__all__ = ["FORMATS", "detect", "format_of", "open_source"]

_SOURCES: dict[str, Callable[[str | Path, str, Mapping[str, str] | None], Source]] = {
    "folder": lambda path, labels, columns: FolderSource(path),
    "flat": lambda path, labels, columns: FlatSource(path, labels),
    "kaggle": lambda path, labels, columns: KaggleSource(path, labels),
    "ilsvrc-tar": lambda path, labels, columns: ArchiveSource(path, labels),
    "webdataset": lambda path, labels, columns: WebDatasetSource(path, labels),
    "parquet": ParquetSource,
}
FORMATS = tuple(_SOURCES)
_IMAGENET_TARS = ("ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar")


def format_of(path: str | Path, format: str) -> str:
    """The format of the images at a path: the given one, or for `auto` the one that is found there.

    Raises
    ------
    LabelsimError
        If it cannot be found out.
    """
    return detect(path) if format == "auto" else format


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
        The configuration's `dataset.labels`, for formats that do not give a class its id by themselves.
    columns : mapping of str to str, optional
        The configuration's `dataset.columns`, for Parquet tables.

    Raises
    ------
    LabelsimError
        If the format is not supported, or cannot be found out.
    """
    format = format_of(path, format)
    if format not in _SOURCES:
        supported = ", ".join(["auto", *FORMATS])
        raise LabelsimError(f"dataset.format: {format!r} is not supported; choose one of: {supported}")
    return _SOURCES[format](path, labels, columns)


def detect(path: str | Path) -> str:
    """Find out the format of a dataset.

    Parameters
    ----------
    path : path
        A folder, a file, or a pattern of files.

    Returns
    -------
    str
        One of `FORMATS`; "folder" for a path that does not exist.

    Raises
    ------
    LabelsimError
        If a pattern matches nothing, or a file or folder is of no known format or cannot be looked at.
    """
    path, *_ = expand(path)
    try:
        return _format(path)
    except OSError as error:
        raise LabelsimError(f"dataset.source: {path} cannot be looked at: {error.strerror}") from error


def _format(path: Path) -> str:
    if not path.exists():
        return "folder"
    if not path.is_dir():
        return _of_file(path)
    if is_split(path) or holds_splits(path):
        return "kaggle"
    return _of_folder(path)


def _of_file(path: Path) -> str:
    if path.suffix == ".parquet":
        return "parquet"
    if path.suffix == ".tar":
        return _of_tar(path)
    raise LabelsimError(
        f"dataset.source: {path} is neither a folder nor a .tar or .parquet file; unpack it, or name what it holds."
    )


def _of_tar(path: Path) -> str:
    """A tar of tars, or one of images and nothing else, is ImageNet's; WebDataset has labels beside its images."""
    with opened(path) as file:
        names = [member.name for member in itertools.islice(tar_members(file, path, Counter()), 2)]
    if path.name in _IMAGENET_TARS or all(name.endswith(".tar") for name in names):
        return "ilsvrc-tar"
    return "ilsvrc-tar" if all(is_image(name) for name in names) else "webdataset"


def _of_folder(path: Path) -> str:
    """Class folders go before whatever lies beside them."""
    found = some(path)
    folders = [entry for entry in found if is_folder(entry)]
    files = {entry.name for entry in found if not is_folder(entry)}
    if any(may_hold_images(folder) for folder in folders if not _holds_tables(folder)):
        return "folder"
    if any(name.endswith(".parquet") for name in files) or any(map(_holds_tables, folders)):
        return "parquet"
    if tars := sorted(files.intersection(_IMAGENET_TARS)):
        raise LabelsimError(
            f"dataset.source: {path} holds {' and '.join(tars)}: name the archive, such as {path / tars[-1]}."
        )
    if any(name.endswith(".tar") for name in files):
        return "webdataset"
    return "flat" if any(map(is_image, files)) else "folder"


def _holds_tables(folder: os.DirEntry[str]) -> bool:
    """Whether a folder is the one in which the Hugging Face hub keeps tables."""
    return folder.name == "data" and any(Path(folder.path).glob("*.parquet"))
