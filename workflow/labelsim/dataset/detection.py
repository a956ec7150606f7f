"""Which format a dataset has, by what lies at its path."""

from __future__ import annotations

import os
from collections import Counter
from itertools import islice
from pathlib import Path

from labelsim.dataset.formats.entries import is_folder, is_image, may_hold_images, some
from labelsim.dataset.formats.kaggle import holds_splits, is_split
from labelsim.dataset.formats.parquet import holds_images
from labelsim.dataset.formats.split_files import split_folders
from labelsim.dataset.formats.tar import Member, opened, tar_members
from labelsim.dataset.formats.webdataset import holds_samples
from labelsim.dataset.labels import has_labels
from labelsim.dataset.paths import expand
from labelsim.errors import LabelsimError

__all__ = ["detect"]

_IMAGENET_TARS = ("ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar")
_FILES = 3  # tables and archives of a folder that are looked into
_MEMBERS = 100  # of an archive that are looked at


def detect(path: str | Path, labels: str = "auto") -> str:
    """Find out the format of a dataset.

    Parameters
    ----------
    path : path
        A folder, a file, or a pattern of files.
    labels : str
        The configuration's `dataset.labels`: images in no class folder may be a dataset if they have labels.

    Returns
    -------
    str
        One of `labelsim.dataset.sources.FORMATS`; "folder" for a path that does not exist.

    Raises
    ------
    LabelsimError
        If a pattern matches nothing, if a file or folder is of no known format or cannot be looked at, or if a folder
        can be read in more than one way.
    """
    path, *_ = expand(path)
    try:
        return _format(path, labels)
    except OSError as error:
        raise LabelsimError(f"dataset.source: {path} cannot be looked at: {error.strerror}") from error


def _format(path: Path, labels: str) -> str:
    if not path.exists():
        return "folder"
    if not path.is_dir():
        return _of_file(path)
    if is_split(path) or holds_splits(path):
        return "kaggle"
    return _of_folder(path, labels)


def _of_file(path: Path) -> str:
    if path.suffix == ".parquet":
        return "parquet"
    if path.suffix == ".tar":
        return _of_tar(path)
    raise LabelsimError(
        f"dataset.source: {path} is neither a folder nor a .tar or .parquet file; unpack it, or name what it holds."
    )


def _of_tar(path: Path) -> str:
    """A tar of tars, or one of images, is ImageNet's; WebDataset has a label beside each image."""
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
    """What lies there may be read in one way only; class folders go before whatever lies beside them and cannot."""
    found = sorted(some(path), key=lambda entry: entry.name)
    folders = [entry for entry in found if is_folder(entry)]
    files = [entry.name for entry in found if not is_folder(entry)]
    tables = [path / name for name in files if name.endswith(".parquet")]
    tables += [table for folder in folders for table in _tables(folder)]
    tars = [path / name for name in files if name.endswith(".tar")]
    images = list(filter(is_image, files))
    ways = {
        "folder": next((f"the folder {f.name}" for f in folders if not _tables(f) and may_hold_images(f)), None),
        "parquet": next((f"the table {t.relative_to(path)}" for t in tables[:_FILES] if holds_images(t)), None),
        "webdataset": next((f"the shard {tar.name}" for tar in tars[:_FILES] if _is_shard(tar)), None),
        "flat": f"the image {images[0]}" if images and has_labels(images, labels, path) else None,
    }
    possible = {format: found for format, found in ways.items() if found}
    if len(possible) > 1:
        raise LabelsimError(
            f"dataset.source: {path} can be read in more than one way, as there are {' and '.join(possible.values())}. "
            f"Set dataset.format to {' or '.join(possible)}."
        )
    format = next(iter(possible), None) or _supposed(path, tables, tars, images)
    if format == "folder" and (splits := split_folders(folder.name for folder in folders)):
        raise LabelsimError(
            f"dataset.source: {path} holds a folder for each split: {', '.join(splits)}. Name one, such as "
            f"{path / splits[0]}; or, if each is a class, set dataset.format: folder."
        )
    return format


def _supposed(path: Path, tables: list[Path], tars: list[Path], images: list[str]) -> str:
    """The format of a folder in which nothing is what it should be: its source will say what is wrong."""
    if tables:
        return "parquet"
    if official := [tar.name for tar in tars if tar.name in _IMAGENET_TARS]:
        raise LabelsimError(
            f"dataset.source: {path} holds {' and '.join(official)}: name the archive, such as {path / official[-1]}."
        )
    if tars:
        return "webdataset"
    return "flat" if images else "folder"


def _tables(folder: os.DirEntry[str]) -> list[Path]:
    """The tables of a folder, if it is the one in which the Hugging Face hub keeps them."""
    return sorted(Path(folder.path).glob("*.parquet")) if folder.name == "data" else []


def _is_shard(tar: Path) -> bool:
    try:
        return holds_samples(_members(tar))
    except LabelsimError:
        return False
