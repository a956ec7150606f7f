"""ImageNet as Kaggle distributes it: ILSVRC/Data/CLS-LOC with train in class folders and val in one folder."""

import os
from collections.abc import Iterable
from pathlib import Path

from labelsim.dataset.formats.base import Listing, Source
from labelsim.dataset.formats.files import entries, is_folder, is_image, may_hold_images, why_ignored
from labelsim.dataset.formats.flat import FlatSource
from labelsim.dataset.formats.folder import FolderSource
from labelsim.dataset.imagenet import DEVKIT, KAGGLE
from labelsim.errors import LabelsimError, listed

__all__ = ["is_kaggle", "kaggle_source"]

SYNSETS = "LOC_synset_mapping.txt"
WITHOUT_FOLDER = f"classes of {SYNSETS} have no folder"

_IMAGES = "CLS-LOC"
_SPLITS = ("train", "val", "test")
_LEVELS = 4  # CLS-LOC, Data, ILSVRC, and the folder that the archive was unpacked into


def kaggle_source(path: str | Path, labels: str) -> Source:
    """Open one split of Kaggle's ImageNet: class folders, or a flat folder with the labels of a file above it.

    Parameters
    ----------
    path, labels
        As for `Source`: …/CLS-LOC/train or …/val; or CLS-LOC or a folder above it, if only one of them is there.

    Raises
    ------
    LabelsimError
        If the path is none of these, or if images lie both in class folders and outside.
    """
    split = _split(Path(path))
    found = [entry for entry in entries(split) if not why_ignored(entry.name)]
    if _place(split).name == "train" or not any(is_image(entry.name) for entry in found):
        return _ClassFolders(split, labels, _above(split, SYNSETS))
    if any(is_folder(entry) and may_hold_images(entry) for entry in found):
        raise LabelsimError(
            f"dataset.source: {split} has images and folders of images. Move all images into class folders, or "
            "none; or use only a part: set dataset.format to folder or flat."
        )
    file = _above(split, KAGGLE) or _above(split, DEVKIT)
    return FlatSource(split, labels, file.parent if file else None)


def is_kaggle(path: Path) -> bool:
    """Whether a path is a split of Kaggle's ImageNet, or a folder above the splits, by the names of the folders."""
    return _is_split(path) or _images(path) is not None


class _ClassFolders(FolderSource):
    """Class folders, all of which must be classes of a file."""

    def __init__(self, path: Path, labels: str, synsets: Path | None) -> None:
        super().__init__(path, labels)
        self.synsets = synsets

    def list(self) -> Listing:
        listing = super().list()
        if self.synsets is None:
            return listing
        try:
            # n01440764 tench, Tinca tinca
            known = {line.split()[0] for line in self.synsets.read_text("utf-8").splitlines() if line.strip()}
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise LabelsimError(f"{self.synsets} cannot be read: {reason}. Repair or remove it.") from error
        if unknown := [class_id for class_id in listing.classes if class_id not in known]:
            raise LabelsimError(
                f"dataset.source: {self.path} has class folders that are not in {self.synsets}: {listed(unknown)}. "
                "Remove them; or, if each is a class, set dataset.format: folder."
            )
        notes = {WITHOUT_FOLDER: len(known) - len(listing.classes), **listing.notes}
        return Listing.of(listing.classes, listing.samples, listing.skipped, notes)

    def _files(self) -> Iterable[tuple[str, Path]]:
        return [*super()._files(), *([(SYNSETS, self.synsets)] if self.synsets else [])]


def _split(path: Path) -> Path:
    """Return the folder of the one split with labels at a path."""
    if _is_split(path):
        found = [path]
    elif images := _images(path):
        found = [images / split for split in _SPLITS if (images / split).is_dir()]
    else:
        raise LabelsimError(
            f"dataset.source: {path} is not a folder of Kaggle's ImageNet. Name …/ILSVRC/Data/{_IMAGES}/val or "
            "…/train, or set dataset.format: folder for class folders, or flat for images in one folder."
        )
    labelled = [folder for folder in found if _place(folder).name != "test"]
    if not labelled:
        raise LabelsimError(
            f"dataset.source: {path} is the test split, whose labels are not published. Name the folder val or train; "
            "or, if these are class folders, set dataset.format: folder."
        )
    if len(labelled) > 1:
        raise LabelsimError(f"dataset.source: {path} has several splits. Name one: {' or '.join(map(str, labelled))}.")
    return labelled[0]


def _is_split(path: Path) -> bool:
    place = _place(path)
    return place.name in _SPLITS and place.parent.name == _IMAGES


def _images(path: Path) -> Path | None:
    """Return the folder CLS-LOC with the splits, if a path is that or a folder above it."""
    candidates = (_place(path) / below for below in ("", _IMAGES, f"Data/{_IMAGES}", f"ILSVRC/Data/{_IMAGES}"))
    return next((c for c in candidates if c.name == _IMAGES and any((c / split).is_dir() for split in _SPLITS)), None)


def _above(split: Path, name: str) -> Path | None:
    """Return a file in the folders above a split, the outermost first."""
    above = list(_place(split).parents)[:_LEVELS]
    return next((folder / name for folder in reversed(above) if (folder / name).is_file()), None)


def _place(path: Path) -> Path:
    """Return the absolute path as it was written, or, if only that is in CLS-LOC, where its links lead."""
    named = Path(os.path.normpath(path.absolute()))
    linked = Path(os.path.realpath(named))  # Path.resolve raises RuntimeError for a link to itself
    known = [_IMAGES in (place.name, place.parent.name) for place in (named, linked)]
    return linked if known == [False, True] else named
