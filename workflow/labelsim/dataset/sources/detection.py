"""Which format a dataset has, by what lies at its path."""

import itertools
import os
from collections import Counter
from pathlib import Path

from labelsim.dataset.paths import expand
from labelsim.dataset.sources.entries import is_folder, is_image, may_hold_images, some
from labelsim.dataset.sources.kaggle import holds_splits, is_split
from labelsim.dataset.sources.tar_members import opened, tar_members
from labelsim.errors import LabelsimError

__all__ = ["detect"]

_IMAGENET_TARS = ("ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar")


def detect(path: str | Path) -> str:
    """Find out the format of a dataset.

    Parameters
    ----------
    path : path
        A folder, a file, or a pattern of files.

    Returns
    -------
    str
        One of `labelsim.dataset.sources.FORMATS`; "folder" for a path that does not exist.

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
