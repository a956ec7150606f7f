"""Which form the images at a path have, and what reads them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path

from labelsim.dataset.formats.base import Source
from labelsim.dataset.formats.files import first_entries, is_folder, is_image, may_hold_images
from labelsim.dataset.formats.flat import FlatSource
from labelsim.dataset.formats.folder import FolderSource
from labelsim.dataset.formats.ilsvrc_tar import ArchiveSource
from labelsim.dataset.formats.kaggle import is_kaggle, kaggle_source
from labelsim.dataset.formats.parquet import ParquetSource, holds_images
from labelsim.dataset.formats.splits import split_folders, tables_in
from labelsim.dataset.formats.tar import Member, opened, tar_members
from labelsim.dataset.formats.webdataset import WebDatasetSource, holds_samples
from labelsim.dataset.labels import has_labels
from labelsim.dataset.paths import expand
from labelsim.errors import LabelsimError

__all__ = ["FORMATS", "detect", "format_of", "open_source"]

_SOURCES: dict[str, Callable[[str | Path, str, Mapping[str, str] | None], Source]] = {
    "folder": lambda path, labels, _: FolderSource(path, labels),
    "flat": lambda path, labels, _: FlatSource(path, labels),
    "kaggle": lambda path, labels, _: kaggle_source(path, labels),
    "ilsvrc-tar": lambda path, labels, _: ArchiveSource(path, labels),
    "webdataset": lambda path, labels, _: WebDatasetSource(path, labels),
    "parquet": ParquetSource,
}
FORMATS = tuple(_SOURCES)

_IMAGENET_TARS = ("ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar")
_FILES = 3  # tables and archives of a folder that are opened
_MEMBERS = 100  # of an archive that are looked at


def open_source(
    path: str | Path, format: str = "auto", labels: str = "auto", columns: Mapping[str, str] | None = None
) -> Source:
    """Open the images at a path.

    Parameters
    ----------
    path : path
        A folder, a file, or a pattern of files (see `labelsim.dataset.paths.expand`). If it does not exist, the error
        may come from `list` only.
    format : str
        `auto` (found by `detect`) or one of `FORMATS`.
    labels, columns : str, mapping of str to str
        The configuration's `dataset.labels`, and `dataset.columns` for Parquet tables.

    Raises
    ------
    LabelsimError
        If the format is not supported or cannot be detected.
    """
    format = format_of(path, format, labels)
    if format not in _SOURCES:
        choices = ", ".join(["auto", *FORMATS])
        raise LabelsimError(f"dataset.format: {format!r} is not supported; choose one of: {choices}")
    return _SOURCES[format](path, labels, columns)


def format_of(path: str | Path, format: str, labels: str = "auto") -> str:
    """Return the given format, or the one that `detect` finds for `auto`."""
    return detect(path, labels) if format == "auto" else format


def detect(path: str | Path, labels: str = "auto") -> str:
    """Detect the format of a dataset.

    Parameters
    ----------
    path : path
        A folder, a file, or a pattern of files.
    labels : str
        The configuration's `dataset.labels`: images without class folders are a dataset only if they have labels.

    Returns
    -------
    str
        One of `FORMATS`; "folder" for a path that does not exist.

    Raises
    ------
    LabelsimError
        If a pattern matches nothing, if the format is unknown, or if a folder can be read in more than one way.
    """
    path, *_ = expand(path)
    try:
        if path.is_dir():
            return "kaggle" if is_kaggle(path) else _of_folder(path, labels)
        return _of_file(path) if path.exists() else "folder"
    except OSError as error:
        raise LabelsimError(f"dataset.source: {path} cannot be looked at: {error.strerror}") from error


def _of_file(path: Path) -> str:
    if path.suffix == ".parquet":
        return "parquet"
    if path.suffix == ".tar":
        return _of_tar(path)
    raise LabelsimError(f"dataset.source: {path} is neither a folder nor a .tar or .parquet file; unpack it first.")


def _of_tar(path: Path) -> str:
    """A tar of tars or of images is ImageNet's; in WebDataset each image has its label next to it."""
    if path.name in _IMAGENET_TARS:
        return "ilsvrc-tar"
    members = _members(path)
    if any(member.name.endswith(".tar") for member in members):
        return "ilsvrc-tar"
    if holds_samples(members):
        return "webdataset"
    return "ilsvrc-tar" if any(is_image(member.name) for member in members) else "webdataset"


def _members(path: Path) -> list[Member]:
    with opened(path) as file:
        return list(islice(tar_members(file, path, Counter()), _MEMBERS))


def _of_folder(path: Path, labels: str) -> str:
    """It must be readable in one way only; class folders take precedence over files that are no dataset."""
    found = sorted(first_entries(path), key=lambda entry: entry.name)
    folders = [entry for entry in found if is_folder(entry)]
    files = [entry.name for entry in found if not is_folder(entry)]
    data = tables_in(path / "data")  # where the Hugging Face hub has them
    tables = tables_in(path) + data
    classes = (f.name for f in folders if not (data and f.name == "data") and may_hold_images(f))
    tars = [path / name for name in files if name.endswith(".tar")]
    images = list(filter(is_image, files))
    ways = {
        "folder": next((f"the folder {name}" for name in classes), None),
        "parquet": next((f"the table {t.relative_to(path)}" for t in tables[:_FILES] if holds_images(t)), None),
        "webdataset": next((f"the shard {tar.name}" for tar in tars[:_FILES] if _is_shard(tar)), None),
        "flat": f"the image {images[0]}" if images and has_labels(images, labels, path) else None,
    }
    possible = {format: found for format, found in ways.items() if found}
    if len(possible) > 1:
        raise LabelsimError(
            f"dataset.source: {path} can be read in more than one way, as it has {' and '.join(possible.values())}. "
            f"Set dataset.format to {' or '.join(possible)}."
        )
    if not possible and not tables and (official := [tar.name for tar in tars if tar.name in _IMAGENET_TARS]):
        raise LabelsimError(
            f"dataset.source: {path} has {' and '.join(official)}: name the archive, such as {path / official[-1]}."
        )
    # if nothing is as it should be, the source will say what is wrong
    supposed = {"parquet": tables, "webdataset": tars, "flat": images, "folder": [path]}
    format = next(iter(possible or [kind for kind, files in supposed.items() if files]))
    if format == "folder" and (splits := split_folders(folder.name for folder in folders)):
        raise LabelsimError(
            f"dataset.source: {path} has a folder for each split: {', '.join(splits)}. Name one, such as "
            f"{path / splits[0]}; or, if each is a class, set dataset.format: folder."
        )
    return format


def _is_shard(tar: Path) -> bool:
    try:
        return holds_samples(_members(tar))
    except LabelsimError:
        return False
