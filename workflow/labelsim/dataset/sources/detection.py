"""Which format a dataset has, by what lies at its path."""

import itertools
import mimetypes
import os
from collections import Counter
from pathlib import Path

from labelsim.dataset.paths import expand
from labelsim.dataset.sources.tar_members import tar_members
from labelsim.errors import LabelsimError

__all__ = ["detect"]

_LOOKED_AT = 1000  # entries of a folder
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
        If a pattern matches nothing, or a file or folder is of no known format.
    """
    path, *_ = expand(path)
    if path.is_file():
        return _of_file(path)
    if not path.is_dir():
        return "folder"
    if path.parent.name == "CLS-LOC":
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
    with path.open("rb") as file:
        names = [member.name for member in itertools.islice(tar_members(file, path, Counter()), 2)]
    if path.name in _IMAGENET_TARS or all(name.endswith(".tar") for name in names):
        return "ilsvrc-tar"
    return "ilsvrc-tar" if all(_is_image(name) for name in names) else "webdataset"


def _of_folder(path: Path) -> str:
    with os.scandir(path) as entries:
        seen = list(itertools.islice((e for e in entries if not e.name.startswith(".")), _LOOKED_AT))
    folders = [entry for entry in seen if entry.is_dir()]
    files = [entry.name for entry in seen if not entry.is_dir()]
    # the Hugging Face hub keeps tables in a folder `data`
    if any(name.endswith(".parquet") for name in files) or list((path / "data").glob("*.parquet"))[:1]:
        return "parquet"
    if any(name.endswith(".tar") for name in files) and not folders:
        return "webdataset" if not set(files) & set(_IMAGENET_TARS) else "ilsvrc-tar"
    if not folders and any(_is_image(name) for name in files):
        return "flat"
    if (path / "ILSVRC").is_dir() or (path / "CLS-LOC").is_dir() or (path / "Data" / "CLS-LOC").is_dir():
        return "kaggle"
    return "folder"


def _is_image(name: str) -> bool:
    return (mimetypes.guess_type(name)[0] or "").startswith("image/")
